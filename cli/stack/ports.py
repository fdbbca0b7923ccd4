"""Loopback ports: the documented ones where they are free, others where they are taken."""

from __future__ import annotations

import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"
NEIGHBOURS = 20
"""Ports tried after the preferred one before the system chooses."""


def choose(preferred: int, host: str = LOOPBACK, taken: Collection[int] = ()) -> int:
    """Return the preferred port if it is free, else the next free one; 0 lets the system choose."""
    candidates = range(preferred, min(preferred + NEIGHBOURS, 65536)) if preferred else ()
    for port in candidates:
        if port not in taken and is_free(port, host):
            return port
    return unused(host)


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Say whether a server could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def unused(host: str = LOOPBACK) -> int:
    """Return a port that nobody listens on, chosen by the system."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int, timeout_seconds: float = 0.5) -> bool:
    """Say whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout_seconds).close()
    except OSError:
        return False
    return True
