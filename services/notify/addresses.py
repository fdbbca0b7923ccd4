"""Connections to addresses that were looked at first: what a name leads to is asked once, checked, and then used.

A name that is asked twice may lead to the router at the second time. Nothing here waits longer than its deadline, but
for the answer to that question, which the resolver bounds.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any

import httpcore

from services.settings import Network

INTERNET = ipaddress.ip_network("2000::/3")
"""What of IPv6 is given out as addresses of the internet; those that hold IPv4's lie elsewhere (RFC 4291, 8215)."""
SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""For protocols, relays and documentation (RFC 6890, 7526, 9637), which Python does not know as such, or not yet."""


class Refused(Exception):
    """An address that is not to be connected to."""


def is_allowed(address: str, networks: Sequence[Network] = ()) -> bool:
    """Say whether an address may be connected to: loopback, one of the whole internet, or one of these networks."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return is_allowed(str(found.ipv4_mapped), networks)
    if any(found in network for network in networks):
        return True
    if found.is_loopback:
        return True
    if isinstance(found, ipaddress.IPv6Address) and (
        found.sixtofour is not None or found.teredo is not None or found not in INTERNET
    ):
        return False
    return found.is_global and not found.is_multicast and not any(found in network for network in SPECIAL)


def resolved(host: str, port: int, networks: Sequence[Network] = ()) -> list[str]:
    """Return the addresses of a host, all of which are allowed.

    Raises:
        Refused: one of them is not.
        httpcore.ConnectError: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(f"no address of {host}: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    own = ", ".join(map(str, networks))
    for address in addresses:
        if not is_allowed(address, networks):
            allowed = (
                f"addresses of the internet, loopback, and of {own}"
                if own
                else "addresses of the internet, and loopback"
            )
            raise Refused(f"{host} leads to {address}, allowed: {allowed}")
    return addresses


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to allowed addresses alone, until a deadline.

    Args:
        deadline: of the whole exchange, on the monotonic clock.
        networks: private ones whose addresses are allowed too.
    """

    def __init__(self, deadline: float, networks: Sequence[Network] = ()) -> None:
        self._deadline, self._networks, self._backend = deadline, networks, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline counts
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of the host's addresses that answers."""
        failure: Exception = httpcore.ConnectError(f"no address of {host}")
        for address in resolved(host, port, self._networks):
            try:
                stream = self._backend.connect_tcp(address, port, left(self._deadline), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return BoundedStream(stream, self._deadline)
        raise failure


class BoundedStream(httpcore.NetworkStream):
    """A connection on which nothing waits beyond a deadline, however slowly the other side dribbles."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Read what has come."""
        return self._stream.read(max_bytes, left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Write all of it."""
        self._stream.write(buffer, left(self._deadline))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        """Speak TLS from here on; the certificate is the name's, whatever the address."""
        return BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what the connection knows of itself."""
        return self._stream.get_extra_info(info)


def left(deadline: float) -> float:
    """Return how many seconds are left.

    Raises:
        httpcore.ReadTimeout: none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return seconds
