"""One question to a local HTTP server, without a client library to load."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from cli.stack import ports

TIMEOUT_SECONDS = 2.0


def status_of(url: str) -> int | None:
    """Return the status of GET ``url``, or None if nobody answers within two seconds.

    A socket that waits for its server takes connections too, so that a question may well be heard and not answered.
    Nothing of it stays behind then, at the server either.
    """
    return _get(url)[0]


def json_of(url: str, token: str | None = None) -> Any:
    """Return the JSON that GET ``url`` answers, or None if it answers nothing of the kind."""
    status, content = _get(url, token)
    try:
        return json.loads(content) if status == http.client.OK else None
    except ValueError:
        return None


def _get(url: str, token: str | None = None) -> tuple[int | None, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_SECONDS)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        connection.connect()
        ports.reset_on_close(connection.sock)
        connection.request("GET", parts.path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
