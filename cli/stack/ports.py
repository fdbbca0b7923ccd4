"""Ports: the documented ones where they are free, others where they are taken."""

from __future__ import annotations

import socket
import struct

LOOPBACK = "127.0.0.1"
NEIGHBOURS = 20
"""Ports tried after the preferred one before the system chooses."""


def reserve(preferred: int, host: str = LOOPBACK, neighbours: int = NEIGHBOURS) -> socket.socket:
    """Return a socket that listens on the preferred port if it is free, else on the next free one of its neighbours.

    It keeps the port from others: hand it to the server that is meant to have the port, or close it for a server that
    binds ports itself.
    """
    for port in range(preferred, min(preferred + neighbours, 65536)):
        try:
            return listen(host, port)
        except OSError:
            continue
    return listen(host, 0)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 lets the system choose.

    Raises:
        OSError: the port is taken, or the host is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it an answer takes 40 ms longer
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def hold(port: int, host: str = LOOPBACK) -> socket.socket:
    """Return a socket that keeps a port without listening on it, for a server that binds the port itself.

    The system gives the port to nobody who asks for any port, and connections to it are refused until a server that
    lets addresses be used again, as PostgreSQL and Redis do, binds it; also from one such server to the next.

    Raises:
        OSError: the port is taken.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def port_of(listener: socket.socket) -> int:
    """Return the port on which a socket listens."""
    return int(listener.getsockname()[1])


def url_of(listener: socket.socket) -> str:
    """Return the HTTP address of a listening socket for clients on this machine."""
    host, port = listener.getsockname()[:2]
    here = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def is_taken(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a program listens on a port."""
    try:
        listen(host, port).close()
    except OSError:
        return True
    return False


def reset_on_close(connection: socket.socket) -> None:
    """Have a connection end at both ends at once when it is closed.

    Its server may be too busy to look at it: closed in order, it would stay there half closed until the server does.
    For a question whose answer has come or is not waited for any longer, and for nothing that is still to be sent.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answers(host: str, port: int, timeout_seconds: float = 0.5) -> bool:
    """Say whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout_seconds).close()
    except OSError:
        return False
    return True
