"""HTTP clients of the command: the one place where it is decided whether a proxy of the environment is asked.

The command loads this, and with it HTTPX, when it first asks an API.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.errors import INVALID, CommandError, Unreachable
from services.proxies import is_local

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
# HTTPX does without its own command line where that cannot be loaded, and loading it takes as long as all the rest.

import httpcore  # noqa: E402, F401 - what HTTPX stands on, and loads with its first client
import httpx  # noqa: E402

if sys.modules.get("anyio", httpx) is None:  # a process of the command did without it, see `cli.main.main`
    del sys.modules["anyio"]

PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def http_client(url: str, **options: Any) -> httpx.Client:
    """Return a client for a URL; on the way to a local address no proxy of the environment is asked.

    Raises:
        CommandError: a proxy of the environment is none.
    """
    if url.startswith("http://"):  # needs no certificates, which take long to load
        options.setdefault("verify", ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    try:
        return httpx.Client(trust_env=not is_local(url), **options)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # SOCKS, another scheme, no URL
        given = [name for name in os.environ if name.lower() in PROXIES]
        raise CommandError(f"{', '.join(given)}: allowed: http://host:port ({error})", INVALID) from error


@contextmanager
def named_errors(url: str) -> Iterator[None]:
    """Turn what HTTPX raises on the way to an API into errors of the command."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise CommandError(f"got {error.object!r}, allowed: text in UTF-8", INVALID) from error
    except httpx.InvalidURL as error:
        raise CommandError(f"TWOSTREAM_API_URL: got {url!r}, allowed: a URL ({error})", INVALID) from error
    except httpx.UnsupportedProtocol as error:
        raise CommandError(f"TWOSTREAM_API_URL: got {url!r}, allowed: http:// or https://", INVALID) from error
    except httpx.TransportError as error:
        raise Unreachable(
            f"no answer from the API at {url}: {error or type(error).__name__}; "
            "hint: `twostream up` starts one here, TWOSTREAM_API_URL names one elsewhere"
        ) from error
