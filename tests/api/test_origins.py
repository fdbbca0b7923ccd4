"""Who may ask: this host by its own names, its own pages, and programs; no rebound name, no page of another origin."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.origins import host_name
from services.settings import Settings
from tests.api.clients import ADDRESS, client_of
from tests.api.routes import ROUTES

OWN = "127.0.0.1:8080"


@pytest.fixture(scope="module")
def named(shared_settings: Settings) -> Iterator[TestClient]:
    """A client of an API on loopback that has two more names."""
    with client_of(shared_settings.model_copy(update={"allowed_hosts": ("gpu1.lab", "10.0.0.5")})) as client:
        yield client


@pytest.fixture(scope="module")
def beyond(shared_settings: Settings) -> Iterator[TestClient]:
    """A client of an API that listens beyond loopback."""
    settings = shared_settings.model_copy(update={"api_host": "0.0.0.0", "api_token": SecretStr("t")})
    with client_of(settings, headers={"Authorization": "Bearer t"}) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9000", "LOCALHOST:8080", "localhost.:8080", "127.0.0.1", OWN, "127.0.0.2", "[::1]:8080"],
)
def test_names_of_loopback_are_answered(shared, host):
    assert shared.get("/health/live", headers={"Host": host}).status_code == 200


FOREIGN_HOSTS = [
    "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
    "evil.example/127.0.0.1", "evil.example?localhost", "evil.example#localhost", "0.0.0.0:8080", "10.0.0.1", "[::2]",
    "localhost:port", "[", "", " ", "gpu1.lab",
]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize(
    "path", ["/", "/experiments", "/health/live", "/static/style.css", "/openapi.json", "/nowhere"]
)
def test_foreign_names_are_refused_everywhere(shared, host, path):
    answer = shared.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "allowed: localhost, 127.0.0.1, [::1]; hint: TWOSTREAM_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("host", "status"), [("gpu1.lab:8080", 200), ("GPU1.LAB", 200), ("10.0.0.5", 200), (OWN, 200), ("gpu2.lab", 403)]
)
def test_a_setting_allows_more_names(named, host, status):
    assert named.get("/health/live", headers={"Host": host}).status_code == status


def test_beyond_loopback_any_name_is_answered_until_the_setting_names_some(beyond, shared_settings):
    assert beyond.get("/health/live", headers={"Host": "gpu1.lab"}).status_code == 200
    update = {"api_host": "0.0.0.0", "api_token": SecretStr("t"), "allowed_hosts": ("gpu1.lab",)}
    with client_of(shared_settings.model_copy(update=update)) as client:
        found = {host: client.get("/health/live", headers={"Host": host}).status_code for host in ("gpu1.lab", "x.y")}
    assert found == {"gpu1.lab": 200, "x.y": 403}


FOREIGN_PAGES = [
    {"Origin": "http://evil.example"},
    {"Origin": "https://evil.example:8080"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": f"http://{OWN}.evil.example"},
    {"Origin": f"http://{OWN}@evil.example"},
    {"Origin": "file://"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]
WRITING = [(method, path) for method, path in ROUTES if method != "GET"]


@pytest.mark.parametrize(("method", "path"), WRITING)
@pytest.mark.parametrize("headers", FOREIGN_PAGES)
def test_no_page_of_another_origin_writes(shared, method, path, headers):
    answer = shared.request(method, re.sub(r"{\w+}", "x", path), json={}, headers=headers)
    assert answer.status_code == 403
    assert next(iter(headers)) in answer.json()["detail"]
    assert "access-control-allow-origin" not in answer.headers


def test_two_origins_are_foreign(shared):
    headers = [("Origin", ADDRESS), ("Origin", "http://evil.example")]
    assert shared.post("/experiments", json={}, headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/experiments/exp_1/events", "/experiments", "/"])
def test_no_page_of_another_origin_reads_or_holds_a_stream_open(shared, path):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        answer = shared.get(path, headers=headers)
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)


def test_a_link_from_elsewhere_may_be_followed_and_no_page_framed(shared):
    answer = shared.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    assert (answer.status_code, answer.headers["x-frame-options"]) == (200, "DENY")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_preflight_allows_nothing(shared):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = shared.options("/experiments", headers=headers)
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ADDRESS},
        {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"https://{OWN}"},  # a proxy before us speaks TLS
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_own_pages_and_programs_write(shared, headers):
    assert shared.post("/experiments", json={}, headers=headers).status_code == 422


def test_a_page_on_an_allowed_name_writes_whatever_the_proxy_makes_of_the_host(named):
    for origin, status in (("https://gpu1.lab", 422), ("http://gpu1.lab:8443", 422), ("https://gpu2.lab", 403)):
        answer = named.post("/experiments", json={}, headers={"Origin": origin, "Sec-Fetch-Site": "same-site"})
        assert answer.status_code == status


def test_foreign_pages_are_refused_beyond_loopback_too(beyond):
    headers = {"Host": "gpu1.lab:8080", "Origin": "http://evil.example"}
    assert beyond.post("/experiments", json={}, headers=headers).status_code == 403
    own = {"Host": "gpu1.lab:8080", "Origin": "http://gpu1.lab:8080"}
    assert beyond.post("/experiments", json={}, headers=own).status_code == 422


@pytest.mark.parametrize(
    ("host", "name"), [("[::1]:80", "::1"), ("[0:0:0:0:0:0:0:1]", "::1"), ("A.b:1", "a.b"), ("a:b", ""), ("a@b", "")]
)
def test_a_host_is_read_without_its_port(host, name):
    assert host_name(host) == name
