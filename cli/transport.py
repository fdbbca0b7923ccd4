"""An HTTP client of the API whose errors are messages for the user, and exit codes for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Self
from urllib.parse import parse_qs, quote, urlsplit

from cli.errors import CONFLICT, FAILURE, INVALID, NOT_FOUND, CommandError
from cli.target import Target
from services.errors import sentence

if TYPE_CHECKING:
    import httpx

EXIT_CODES = {400: INVALID, 413: INVALID, 415: INVALID, 422: INVALID, 404: NOT_FOUND, 409: CONFLICT}
TIMEOUT, SENDING, LISTENING = ((5.0, seconds, seconds, seconds) for seconds in (30.0, 600.0, 60.0))
"""Seconds to connect, to read, to write, and to wait for a connection."""
LEAST_SECONDS, MOST_SECONDS = 0.001, 1e9
"""That may be waited for: a request with none at all ends before it has begun, and a socket counts no farther."""
Json = dict[str, Any]


class Page(NamedTuple):
    """Some of ``total`` entries, and the cursor of the next page; None on the last."""

    items: list[Json]
    total: int
    next_cursor: str | None


def step(name: str) -> str:
    """Return a name that somebody typed as one step of a path, whatever letters it has.

    Raises:
        CommandError: it is empty, or holds bytes that are no text.
    """
    if not name:
        raise CommandError("got '' for a name, allowed: at least one letter", INVALID)
    try:
        quoted = quote(name, safe="")
    except UnicodeEncodeError as error:
        raise CommandError(f"got {name!r} for a name, allowed: text in UTF-8", INVALID) from error
    return quoted.replace(".", "%2E") if name in {".", ".."} else quoted  # else they lead up the path


def header(name: str, value: str, shown: str | None = None) -> str:
    """Return a value that a header can carry.

    Args:
        name: of what somebody has set, for messages.
        value: of it.
        shown: stands for a secret value in messages.

    Raises:
        CommandError: it holds other letters than a header can.
    """
    if not value.isascii() or not value.isprintable():
        raise CommandError(f"{name}: got {shown or repr(value)}, allowed: printable ASCII", INVALID)
    return value


def seconds(timeout: float | None, least: float = 0.0) -> float | None:
    """Return seconds to wait for, or None for no end.

    Raises:
        CommandError: they are no number, fewer than ``least``, or more than a socket counts.
    """
    if timeout is None or (isinstance(timeout, (int, float)) and least <= timeout <= MOST_SECONDS):
        return timeout
    raise CommandError(f"timeout: got {timeout!r}, allowed: {least:g} to {MOST_SECONDS:g} seconds, or None", INVALID)


class Transport:
    """Requests to the API, and their answers.

    Args:
        target: address and token.
        timeout: seconds for each step of a request; without it 30, and 600 for what may take minutes.
    """

    def __init__(self, target: Target, timeout: float | None = None) -> None:
        from cli.connection import http_client

        headers = {}
        if target.token is not None:
            headers["Authorization"] = f"Bearer {header('TWOSTREAM_API_TOKEN', target.token, '***')}"
        timeout = seconds(timeout, LEAST_SECONDS)
        self.url, self._patience = target.url, SENDING if timeout is None else timeout
        self._http = http_client(target.url, headers=headers, timeout=TIMEOUT if timeout is None else timeout)
        with self._named_errors():
            self._http.base_url = target.url
        self._http.event_hooks = {"request": [self._require_own]}

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None, *, timeout: float | None = None) -> Self:
        """Return a client of an API; it connects when it first asks.

        Args:
            url: its address; without it the environment names the API, or the stack that is up.
            token: bearer token, if that API wants one.
            timeout: seconds for each step of a request; without it 30, and 600 for what may take minutes.
        """
        return cls(Target.from_environment() if url is None else Target(url.rstrip("/"), token), timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, path: str, **query: str | int | None) -> Any:
        """Return the JSON at a path; query fields that are None are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._answer("GET", path, params=given)

    def page(self, path: str, **query: str | int | None) -> Page:
        """Return a page of a listing, which says in headers what it leaves out."""
        given = {name: value for name, value in query.items() if value is not None}
        with self._named_errors():
            response = self._http.get(path, params=given)
        items = self._json(path, _checked(response))
        following = parse_qs(urlsplit(response.links.get("next", {}).get("url", "")).query)
        [cursor] = following.get("cursor", [None])
        return Page(items, int(response.headers.get("X-Total-Count", len(items))), cursor)

    def post(
        self, path: str, body: Json | None = None, *, idempotency_key: str | None = None, patient: bool = False
    ) -> Any:
        """Send a JSON body and return the answer's JSON; dates and the like go as text.

        ``patient`` is for what may take minutes.
        """
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = header("Idempotency-Key", idempotency_key)
        own = {"timeout": self._patience} if patient else {}
        return self._answer("POST", path, content=_body(body or {}), headers=headers, **own)

    def patch(self, path: str, body: Json) -> Any:
        """Send changes as JSON, and return the answer's JSON."""
        headers = {"Content-Type": "application/json"}
        return self._answer("PATCH", path, content=_body(body), headers=headers)

    def delete(self, path: str) -> Any:
        """Delete what is at a path, and return the answer's JSON."""
        return self._answer("DELETE", path)

    def send(self, path: str, file: BinaryIO, **query: str | int) -> Any:
        """Send a file as it is, and return the answer's JSON."""
        headers = {"Content-Type": "application/octet-stream"}
        return self._answer("POST", path, content=file, headers=headers, params=query, timeout=self._patience)

    def text(self, path: str, **query: str | None) -> str:
        """Return the text at a path."""
        return self.content(path, **query).decode(errors="replace")

    def content(self, path: str, **query: str | int | None) -> bytes:
        """Return the bytes at a path, such as a picture's."""
        given = {name: value for name, value in query.items() if value is not None}
        with self._named_errors():
            response = self._http.get(path, params=given)
        return _checked(response).content

    def receive(self, path: str, file: BinaryIO, **query: str | int | None) -> None:
        """Write what is at a path into a file as it comes.

        Raises:
            CommandError: it broke off.
        """
        given = {name: value for name, value in query.items() if value is not None}
        with self._named_errors(), self._http.stream("GET", path, params=given, timeout=self._patience) as response:
            if response.is_error:
                response.read()
            for chunk in _checked(response).iter_bytes():
                file.write(chunk)

    @contextmanager
    def stream(self, path: str, last_event_id: str | None) -> Iterator[httpx.Response]:
        """Open a stream of server-sent events, from the beginning or after an event."""
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        with self._named_errors(), self._http.stream("GET", path, headers=headers, timeout=LISTENING) as response:
            if response.is_error:
                response.read()
            yield _checked(response)

    def _require_own(self, request: httpx.Request) -> None:
        """Refuse an address of somebody else, who would be sent the token."""
        own = self._http.base_url
        if (request.url.scheme, request.url.netloc) != (own.scheme, own.netloc):
            raise CommandError(f"got {str(request.url)!r}, allowed: a path of the API at {self.url}", INVALID)

    def _answer(self, method: str, path: str, **options: Any) -> Any:
        with self._named_errors():
            response = self._http.request(method, path, **options)
        return self._json(path, _checked(response))

    def _json(self, path: str, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise CommandError(f"{self.url} is not a twostream API: it answered {path} without JSON") from error

    def _named_errors(self) -> AbstractContextManager[None]:
        from cli.connection import named_errors

        return named_errors(self.url)


def _body(content: Json) -> bytes:
    try:
        return json.dumps(content, default=str).encode()
    except (TypeError, ValueError, RecursionError) as error:  # YAML can name itself, and has fields that are no text
        allowed = "texts, numbers, lists, mappings"
        raise CommandError(f"got what JSON cannot say, allowed: {allowed}: {error}", INVALID) from error


def _checked(response: httpx.Response) -> httpx.Response:
    """Return a good response; turn a problem document into its message and exit code."""
    if not response.is_error:
        return response
    status = response.status_code
    try:
        problem: Json = response.json()
        message = _message(problem)
    except (ValueError, AttributeError):
        message = response.text.strip()[:200] or response.reason_phrase
        problem = {"type": "about:blank", "title": response.reason_phrase, "status": status, "detail": message}
    raise CommandError(message, EXIT_CODES.get(status, FAILURE), problem)


def _message(problem: Json) -> str:
    """Word a problem document: each wrong field with its value and what is allowed, else the detail."""
    errors = problem.get("errors") or []
    if not errors:
        return str(problem.get("detail") or problem.get("title") or "error without words")
    lines = [sentence(error["field"], error["value"], error["allowed"]) for error in errors]
    return "\n  ".join([str(problem.get("title", "Invalid request")), *lines])
