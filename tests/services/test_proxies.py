"""No library asks a proxy of the environment for a local address."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import requests

from services.proxies import is_local, spare_local

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def behind_a_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """An environment with proxies at which nobody answers."""
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server of this machine, by its number."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_every_library_goes_straight_to_a_local_address(behind_a_proxy, server, name):
    url = server.replace("127.0.0.1", name)
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get(url, timeout=60)
    spare_local()
    assert requests.get(url, timeout=60).status_code == 200  # as MLflow's client does
    assert httpx.get(url, timeout=60).status_code == 200
    with urllib.request.urlopen(url, timeout=60) as answer:
        assert answer.status == 200


def test_what_was_spared_before_stays(behind_a_proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", "lab.example, 10.0.0.1")
    monkeypatch.setenv("NO_PROXY", "*")
    spare_local("http://mlflow:5000", "http://mlflow.example:5000", None)
    assert os.environ["no_proxy"] == "lab.example,10.0.0.1,localhost,127.0.0.1,::1,mlflow"
    assert os.environ["NO_PROXY"] == "*"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:8080", True),
        ("http://127.0.0.1", True),
        ("http://127.8.9.1:80/x", True),
        ("http://[::1]:8080", True),
        ("http://0.0.0.0:8080", True),
        ("http://api:8080", True),
        (f"http://{socket.gethostname()}:8080", True),
        ("http://api.example:8080", False),
        ("http://192.0.2.1:8080", False),  # of a range for examples alone (RFC 5737)
        ("http://[2001:db8::1]", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_what_is_local(url, local):
    assert is_local(url) == local
