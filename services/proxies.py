"""Proxies of the environment (`HTTP_PROXY`, `all_proxy`, ...) are for addresses elsewhere, never for local ones.

Standard library only: every command loads it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from urllib.parse import urlsplit

ALWAYS = ("localhost", "127.0.0.1", "::1")
VARIABLES = ("NO_PROXY", "no_proxy")
"""Which of the two counts differs from library to library, so both are set."""


def spare_local(*urls: str | None) -> None:
    """Have no library of this process, or of those that it starts, ask a proxy for a local address.

    Args:
        urls: addresses of which the local ones are spared too, beside loopback.
    """
    names = [*ALWAYS, *(_host(url) for url in urls if url is not None and is_local(url))]
    for variable in VARIABLES:
        given = [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
        if given != ["*"]:
            os.environ[variable] = ",".join(dict.fromkeys((*given, *names)))


def is_local(url: str) -> bool:
    """Tell whether a URL leads to this machine, or to a neighbour whose name has no dot, such as a container's."""
    host = _host(url)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return bool(host) and ("." not in host or host.lower() in ("localhost.", socket.gethostname().lower()))
    return address.is_loopback or address.is_unspecified or _is_ours(address)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_ours(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Ask the kernel, which binds to no address of another machine."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
