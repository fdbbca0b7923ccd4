"""What was tried against a real API process; `docs/security.md` shows the table, and must show this one."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import text

from cli.stack.api import Api
from services.db.engine import Database
from services.db.tables import EventRow
from tests.api.conftest import SPEC
from tests.api.processes import api_process
from tests.cli.stacks import PATIENCE_SECONDS, until

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TOKEN = "the administrator's"
HEADER = "| tried | expected | answer |\n|---|---|---|\n"


class Try(NamedTuple):
    """A row: what is tried in words, the request, the status that it must get."""

    words: str
    method: str
    path: str
    expected: int
    headers: Mapping[str, str] = MappingProxyType({})
    body: Any = None


@pytest.fixture(scope="module")
def database(migrated_database: Callable[[], str]) -> Iterator[Database]:
    url = migrated_database()
    database = Database(url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def open_api(servers, database, redis_server) -> Iterator[Api]:
    """An API on loopback that asks nobody for a token."""
    with api_process(servers, database, redis_server) as part:
        yield part


@pytest.fixture(scope="module")
def guarded_api(servers, database, redis_server) -> Iterator[Api]:
    """An API with the administrator's token, for readers too."""
    wanted = {"TWOSTREAM_API_TOKEN": TOKEN, "TWOSTREAM_READ_REQUIRES_TOKEN": "1"}
    with api_process(servers, database, redis_server, **wanted) as part:
        yield part


def client_of(part: Api, **options: Any) -> httpx.Client:
    return httpx.Client(base_url=part.url, trust_env=False, timeout=PATIENCE_SECONDS, **options)


@pytest.fixture(scope="module")
def experiment(open_api: Api) -> str:
    with client_of(open_api) as client:
        found: str = client.post("/experiments", json=SPEC).json()["id"]
        return found


EVIL = "http://evil.example"
NEXT = {"Origin": "http://localhost:1"}
ACROSS = {"Sec-Fetch-Site": "cross-site"}
OPEN = [
    Try("a program reads", "GET", "/experiments", 200),
    Try("a program submits", "POST", "/experiments", 202, body=SPEC),
    Try("`Host: evil.example` reads (DNS rebinding)", "GET", "/experiments", 403, {"Host": "evil.example"}),
    Try("`Host: evil.example` submits", "POST", "/experiments", 403, {"Host": "evil.example"}, SPEC),
    Try("`Host: 127.0.0.1.evil.example` reads", "GET", "/", 403, {"Host": "127.0.0.1.evil.example"}),
    Try("no `Host` to speak of", "GET", "/health/live", 403, {"Host": ""}),
    Try("a foreign page submits", "POST", "/experiments", 403, {"Origin": EVIL}, SPEC),
    Try("a foreign page cancels", "POST", "/experiments/{id}/cancel", 403, {"Origin": EVIL}),
    Try("a foreign page retries", "POST", "/experiments/{id}/retry", 403, {"Origin": EVIL}),
    Try("a foreign page registers a dataset", "POST", "/datasets", 403, {"Origin": EVIL}, {}),
    Try("a foreign page empties the cache", "POST", "/cache/gc", 403, {"Origin": EVIL}, {"max_size": 0}),
    Try(
        "a page of another port of this host submits",
        "POST",
        "/experiments",
        403,
        NEXT,
        SPEC,
    ),
    Try("a page in a sandbox submits (`Origin: null`)", "POST", "/experiments", 403, {"Origin": "null"}, SPEC),
    Try("a foreign form submits (`Sec-Fetch-Site`)", "POST", "/experiments", 403, ACROSS, SPEC),
    Try("a foreign page holds a stream open", "GET", "/experiments/{id}/events", 403, ACROSS),
    Try("a foreign page asks whether it may", "OPTIONS", "/experiments", 403, {"Origin": EVIL}),
    Try("somebody issues a key where nobody is the administrator", "POST", "/keys", 403, body={"owner": "eve"}),
    Try("`?dryrun=true` that no route knows", "POST", "/experiments?dryrun=true", 422, body=SPEC),
    Try("a misspelt parameter", "GET", "/?splt=1", 422),
    Try("a parameter given twice", "GET", "/experiments?limit=1&limit=2", 422),
    Try("fields for a route that takes none", "POST", "/experiments/{id}/cancel", 422, body={"force": True}),
    Try("a text for a number", "POST", "/experiments", 422, body=SPEC | {"priority": "9"}),
    Try("a path out of the style sheets' folder", "GET", "/static/%2e%2e/pages.py", 404),
    Try("a body of 2 MB", "POST", "/experiments", 413, body={"name": "x" * 2_000_000}),
    Try("a method that no route has", "TRACE", "/experiments", 405),
]
GUARDED = [
    Try("no token reads, where readers need one", "GET", "/experiments", 401),
    Try("a wrong token reads", "GET", "/experiments", 401, {"Authorization": "Bearer ts_wrong"}),
    Try("no token asks whether all is well", "GET", "/health/ready", 200),
    Try("no token submits", "POST", "/experiments", 401, body=SPEC),
    Try("a key for reading reads", "GET", "/experiments", 200, {"Key": "reader"}),
    Try("a key for reading submits", "POST", "/experiments", 403, {"Key": "reader"}, SPEC),
    Try("a key for submitting submits", "POST", "/experiments", 202, {"Key": "submitter"}, SPEC),
    Try("a key for submitting cancels another's", "POST", "/experiments/{id}/cancel", 403, {"Key": "submitter"}),
    Try("a key for submitting registers a dataset", "POST", "/datasets", 403, {"Key": "submitter"}, {}),
    Try("a key for datasets replaces another's", "POST", "/datasets", 403, {"Key": "datasets"}, "replace"),
    Try("a key for datasets empties the cache", "POST", "/cache/gc", 403, {"Key": "datasets"}, {"max_size": 0}),
    Try("a key that is no administrator's issues another", "POST", "/keys", 403, {"Key": "datasets"}, {"owner": "eve"}),
    Try("an expired key reads", "GET", "/experiments", 401, {"Key": "expired"}),
    Try("a revoked key reads", "GET", "/experiments", 401, {"Key": "revoked"}),
    Try("a rotated key reads", "GET", "/experiments", 401, {"Key": "rotated"}),
]


@pytest.fixture(scope="module")
def tokens(guarded_api: Api, database: Database) -> dict[str, str]:
    """A key of each kind, and one in each state; its owner is named after it."""
    scopes = {"reader": ["read"], "submitter": ["submit"], "datasets": ["datasets"]}
    with client_of(guarded_api, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        keys = {
            owner: client.post("/keys", json={"owner": owner, "scopes": scopes.get(owner, ["read"])}).json()["key"]
            for owner in (*scopes, "expired", "revoked", "rotated")
        }
        client.post("/keys/revoked/revoke").raise_for_status()
        client.post("/keys/rotated/rotate").raise_for_status()
        made = {"name": "theirs", "root": "/clips", "annotations": "/lists"}
        client.post("/datasets", json=made).raise_for_status()
    with database.transaction() as session:
        session.execute(text("UPDATE api_key SET expires_at = now() WHERE owner = 'expired'"))
    return keys


@pytest.fixture(scope="module")
def answers(open_api: Api, guarded_api: Api, experiment: str, tokens: dict[str, str]) -> list[tuple[Try, int]]:
    """What each request got."""
    found = []
    for part, tries in ((open_api, OPEN), (guarded_api, GUARDED)):
        with client_of(part) as client:
            for each in tries:
                headers = dict(each.headers)
                if "Key" in headers:
                    headers["Authorization"] = f"Bearer {tokens[headers.pop('Key')]}"
                body = each.body
                if body == "replace":
                    body = {"name": "theirs", "root": "/x", "annotations": "/y", "replace": True}
                path = each.path.replace("{id}", experiment)
                options = {} if body is None else {"json": body}
                found.append((each, client.request(each.method, path, headers=headers, **options).status_code))
    return found


@pytest.fixture(scope="module")
def held(open_api: Api, experiment: str) -> list[tuple[str, str, str]]:
    """What became of clients that hold on to what they have: words, expected, answer."""
    address = (urlsplit(open_api.url).hostname, urlsplit(open_api.url).port)
    host = f"Host: {urlsplit(open_api.url).netloc}\r\n"
    stream = f"GET /experiments/{experiment}/events HTTP/1.1\r\n{host}\r\n".encode()
    with ExitStack() as opened:
        streams = [opened.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(21)]
        got = []
        for one in streams:
            one.sendall(stream)
            got.append(one.recv(12).decode()[-3:])
        half = [opened.enter_context(socket.create_connection(address, PATIENCE_SECONDS)) for _ in range(200)]
        for one in half:
            one.sendall(f"POST /experiments HTTP/1.1\r\n{host}".encode())
        body = opened.enter_context(socket.create_connection(address, PATIENCE_SECONDS))
        kind = "content-type: application/json\r\ncontent-length: 9"
        body.sendall(f"POST /experiments HTTP/1.1\r\n{host}{kind}\r\n\r\n{{".encode())
        ends = [one.recv(12).decode()[-3:] for one in half]  # the limits of all run at once
        late = body.recv(12).decode()[-3:]
    return [
        ("21 event streams from one address", "20 times 200, 429", f"{got.count('200')} times 200, {got[-1]}"),
        ("200 requests whose headers never end", "200 times 408", f"{len(ends)} times {', '.join(sorted(set(ends)))}"),
        ("a body that never comes", "408", late),
    ]


def test_the_table_of_what_was_tried_is_that_of_the_page(answers, held, record_property) -> None:
    rows = [f"| {each.words}: `{each.path}`, {each.method} | {each.expected} | {status} |" for each, status in answers]
    rows += [f"| {words} | {expected} | {answer} |" for words, expected, answer in held]
    record_property("security", "\n".join(rows))
    assert [(each, status) for each, status in answers if status != each.expected] == []
    assert [row for row in held if row[1] != row[2]] == []
    table = HEADER + "\n".join(rows) + "\n"
    assert PAGE.read_text().endswith(table), f"docs/security.md is to end with:\n{table}"


def test_clients_that_vanish_leave_no_line(open_api: Api, database: Database, experiment: str) -> None:
    """The log of 55 event streams with much to tell, none read to its end, and of requests that break off."""
    with database.transaction() as session:
        data = {"words": "x" * 2000}
        session.add_all(EventRow(experiment_id=experiment, type="stage.warning", data=data) for _ in range(400))
    parts = urlsplit(open_api.url)
    before = open_api.log.read_text()
    stream = f"GET /experiments/{experiment}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    half = f"POST /experiments HTTP/1.1\r\nHost: {parts.netloc}\r\ncontent-length: 9\r\n\r\n{{".encode()
    for number in range(55):
        for sent in (stream, half):
            with socket.create_connection((parts.hostname, parts.port), PATIENCE_SECONDS) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", number % 2, 0))
                client.sendall(sent)
                if sent == stream:
                    client.recv(100)

    def free() -> bool:
        with client_of(open_api) as client:
            return client.head(f"/experiments/{experiment}/events").status_code == 200

    until(free, "the streams' places are free again")
    assert open_api.log.read_text() == before


def test_a_stop_with_open_streams_leaves_no_trace(servers, database, redis_server, experiment: str) -> None:
    with ExitStack() as opened:
        with api_process(servers, database, redis_server) as part:
            parts = urlsplit(part.url)
            for _ in range(10):
                client = opened.enter_context(socket.create_connection((parts.hostname, parts.port), PATIENCE_SECONDS))
                stream = f"GET /experiments/{experiment}/events HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
                client.sendall(stream.encode())
                client.recv(100)
        assert "Traceback" not in part.log.read_text()
        assert "Finished server process" in part.log.read_text()
