"""One question to a local HTTP server, without a client library to load."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit


def status_of(url: str) -> int | None:
    """Return the status of GET ``url``, or None if nobody answers within two seconds.

    A socket that waits for its server takes connections too, so that a question may well be heard and not answered.
    """
    return _get(url)[0]


def json_of(url: str, token: str | None = None) -> Any:
    """Return the JSON that GET ``url`` answers, or None if it answers nothing of the kind."""
    status, content = _get(url, token)
    return json.loads(content) if status == http.client.OK else None


def _get(url: str, token: str | None = None, timeout_seconds: float = 2.0) -> tuple[int | None, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_seconds)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        connection.request("GET", parts.path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
