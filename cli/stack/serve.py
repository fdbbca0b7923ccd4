"""`python -m cli.stack.serve APPLICATION WHERE`: uvicorn, with limits on its clients, on a socket or an address.

WHERE is ``host:port``, or the descriptor of a listening socket that the parent process hands over. The parent keeps the
socket too, so that nobody else can take the port while the application is imported, which takes seconds, or while a
dead one is started again. Whoever connects in the meantime waits, in place of being refused.
"""

from __future__ import annotations

import socket
import sys
from types import FrameType

import uvicorn

from cli.stack import ports
from cli.stack.protocol import PatientProtocol, quiet
from services.proxies import spare_local

SHUTDOWN_SECONDS = 3
"""Time for open requests."""


class Server(uvicorn.Server):
    """uvicorn's server; an application whose state holds an event ``closing`` hears at once of the wish to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Tell the application: its event streams end by themselves."""
        closing = self.lifespan.state.get("closing") if hasattr(self, "lifespan") else None
        if closing is not None:
            closing.set()
        super().handle_exit(sig, frame)


def main() -> None:
    """Serve an application factory (``module:function``) until SIGTERM; exit with 3 if it does not start.

    uvicorn's own option for descriptors takes every socket for one of a path, and leaves Nagle's algorithm on.
    """
    application, where = sys.argv[1:]
    spare_local()
    with _listener(where) as listener:
        listener.set_inheritable(False)  # a process that outlived us would keep clients waiting
        config = uvicorn.Config(
            application,
            factory=True,
            http=PatientProtocol,
            ws="none",
            access_log=False,
            proxy_headers=False,  # whoever connects is the client; a header could name anybody
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            log_level="info",
        )
        quiet()
        server = Server(config)
        server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def _listener(where: str) -> socket.socket:
    if where.isdecimal():
        return socket.socket(fileno=int(where))
    host, _, port = where.rpartition(":")
    return ports.listen(host.strip("[]"), int(port))


if __name__ == "__main__":
    main()
