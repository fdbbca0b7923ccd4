"""Which requests come from here: no foreign name of this host (DNS rebinding), no page of another origin.

A browser sends `Host`, `Origin` and `Sec-Fetch-Site` as it sees them, and no page can forge them. Programs that are no
browsers send no `Origin`, and pass.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from services.settings import Settings, is_loopback, variable

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
HINT = f"hint: {variable('allowed_hosts')} allows more names"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
"""A browser takes no answer for a script, runs and loads nothing that stands in one, and shows none inside another's
page. Pages and pictures have a policy of their own, which allows what they need."""


class HomeOnly:
    """ASGI middleware: foreign hosts and origins get 403, whatever the route.

    Args:
        app: what answers the others.
        settings: where the API listens, and the names that it is reached by.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._allowed = frozenset(map(_canonical, settings.allowed_hosts))
        self._own = self._allowed | ({_canonical(settings.api_host)} - {"0.0.0.0", "::"})  # noqa: S104
        self._any_host = not is_loopback(settings.api_host) and not settings.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a foreign request, else answer it with headers that keep browsers careful."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self._refusal(Headers(scope=scope), scope["method"]):
            await problem(Request(scope), 403, refusal)(scope, receive, send)
        else:
            await self.app(scope, receive, _with_headers(send))

    def _refusal(self, headers: Headers, method: str) -> str:
        """Say why a request is refused; nothing where it is not."""
        host = headers.get("host", "")
        if not self._any_host and not self._is_ours(host_name(host)):
            return f"Host: got {host[:200]!r}, allowed: {', '.join(self._names())}; {HINT}"
        origins = headers.getlist("origin")
        if origins and not (len(origins) == 1 and self._is_same(origins[0], host)):
            given = ", ".join(origins)[:200]
            return (
                f"Origin: got {given!r}, allowed: pages of {host[:200]!r} itself, and programs, which send none; {HINT}"
            )
        site = headers.get("sec-fetch-site", "none")
        follows_link = method in ("GET", "HEAD") and headers.get("sec-fetch-mode") == "navigate"
        if not origins and site not in ("same-origin", "none") and not follows_link:
            return (
                f"Sec-Fetch-Site: got {site[:200]!r}, allowed: same-origin; a page of another origin may only link here"
            )
        return ""

    def _names(self) -> list[str]:
        return [*LOOPBACK, *sorted(self._own - {_canonical(name) for name in LOOPBACK})]

    def _is_ours(self, name: str) -> bool:
        return name in self._own or is_loopback(name)

    def _is_same(self, origin: str, host: str) -> bool:
        """Say whether a page's origin is where it asks, or one of the names that the setting allows.

        The scheme is left out: behind a proxy that speaks TLS, the page's is another than ours.
        """
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:  # such as "null"
            return False
        return parts.netloc.lower() == host.lower() or _canonical(host_name(parts.netloc)) in self._allowed


def host_name(host: str) -> str:
    """Return the name or address in a `Host` header, without port, in lower case; nothing where it holds none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return ""
    plain = parts.netloc == host and "@" not in host
    return _canonical(parts.hostname or "") if plain else ""


def _canonical(name: str) -> str:
    name = name.lower().removesuffix(".").strip("[]")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent
