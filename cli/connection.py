"""HTTP clients of the command: the one place where it is decided whether a proxy of the environment is asked."""

from __future__ import annotations

import os
from typing import Any

import httpx

from cli.errors import INVALID, CommandError
from services.proxies import is_local

PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def http_client(url: str, **options: Any) -> httpx.Client:
    """Return a client for a URL; on the way to a local address no proxy of the environment is asked.

    Raises:
        CommandError: a proxy of the environment is none.
    """
    try:
        return httpx.Client(trust_env=not is_local(url), **options)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # SOCKS, another scheme, no URL
        given = [name for name in os.environ if name.lower() in PROXIES]
        raise CommandError(f"{', '.join(given)}: allowed: http://host:port ({error})", INVALID) from error
