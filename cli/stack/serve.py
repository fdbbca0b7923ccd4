"""`python -m cli.stack.serve APPLICATION HOST PORT`: uvicorn, listening before the application is imported.

Imports take seconds, in which another program could take a port that was chosen for being free. Whoever connects in the
meantime waits, in place of being refused.
"""

from __future__ import annotations

import sys

import uvicorn

from cli.stack import ports

SHUTDOWN_SECONDS = 3
"""Time for open requests, event streams among them."""


def main() -> None:
    """Serve an application factory (``module:function``) until SIGTERM; exit with 3 if it does not start."""
    application, host, port = sys.argv[1:]
    with ports.listen_patiently(host, int(port)) as listener:
        config = uvicorn.Config(
            application, factory=True, access_log=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS, log_level="info"
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
