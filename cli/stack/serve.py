"""`python -m cli.stack.serve APPLICATION DESCRIPTOR`: uvicorn on a listening socket that the parent process hands over.

The parent keeps the socket too, so that nobody else can take the port while the application is imported, which takes
seconds, or while a dead one is started again. Whoever connects in the meantime waits, in place of being refused.
"""

from __future__ import annotations

import socket
import sys

import uvicorn

SHUTDOWN_SECONDS = 3
"""Time for open requests, event streams among them."""


def main() -> None:
    """Serve an application factory (``module:function``) until SIGTERM; exit with 3 if it does not start.

    uvicorn's own option for descriptors takes every socket for one of a path, and leaves Nagle's algorithm on.
    """
    application, descriptor = sys.argv[1:]
    with socket.socket(fileno=int(descriptor)) as listener:
        listener.set_inheritable(False)  # a process that outlived us would keep clients waiting
        config = uvicorn.Config(
            application, factory=True, access_log=False, timeout_graceful_shutdown=SHUTDOWN_SECONDS, log_level="info"
        )
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
