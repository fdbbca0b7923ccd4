"""Ports that no neighbour on this machine gets by chance while a test needs them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from cli.stack import ports


@contextmanager
def reserved() -> Iterator[int]:
    """Lend a port of loopback that the system gives to nobody else as long as the block runs.

    A connection to it is refused until a server binds it that lets addresses be used again, as PostgreSQL, Redis and
    Gloo do; from one such server to the next it stays ours.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((ports.LOOPBACK, 0))
        yield ports.port_of(holder)
