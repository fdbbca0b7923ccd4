"""The application over real servers, and a worker that ends stages by decree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from services.db.engine import Database
from services.db.tables import ApiKeyRow, EventRow
from services.errors import Cause
from services.queue import attempts
from services.queue.claim import Claim
from services.queue.claim import claim as take
from services.settings import Settings
from tests.api.clients import client_of
from tests.databases import opened

SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "motion_shapes",
    "splits": [1],
    "streams": ["rgb"],
    "backbone": {"name": "tiny", "finetune": None},
}
"""A short plan: index, extract, train, score, fuse."""


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, redis_url=redis_url, sweep_seconds=3600, home=tmp_path / "home")


@pytest.fixture(autouse=True)
def _opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have applications open databases whose statements are known."""
    monkeypatch.setattr("api.app.Database", opened)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """A client of a running application without a token, as on loopback."""
    with client_of(settings) as client:
        yield client


@pytest.fixture
def database(client: TestClient) -> Database:
    found: Database = client.app.state.backend.database  # type: ignore[attr-defined]
    return found


@pytest.fixture
def submit(client: TestClient) -> Callable[..., dict[str, Any]]:
    """Submit the small spec with changes, and return the answer."""

    def send(**changes: Any) -> dict[str, Any]:
        answer = client.post("/experiments", json=SPEC | changes)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return send


@pytest.fixture(scope="session")
def shared_settings(migrated_database: Callable[[], str], redis_server: str) -> Settings:
    """Settings over a database that tests share, into which none of them writes."""
    return Settings(database_url=migrated_database(), redis_url=redis_server, sweep_seconds=3600)


@pytest.fixture(scope="session")
def _reader(shared_settings: Settings) -> Iterator[TestClient]:
    with client_of(shared_settings) as client:
        yield client


@pytest.fixture(scope="module")
def shared(_reader: TestClient) -> Iterator[TestClient]:
    """A client for requests that are refused or only read: what they wrote, the tests of another file might count."""
    before = _rows(_reader)
    yield _reader
    assert _rows(_reader) == before, "tests of this file have written; hint: module_client"


def _rows(client: TestClient) -> list[int]:
    database: Database = client.app.state.backend.database  # type: ignore[attr-defined]
    with database.transaction() as session:
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in (EventRow, ApiKeyRow)]


@pytest.fixture(scope="module")
def module_settings(shared_settings: Settings, migrated_database: Callable[[], str]) -> Settings:
    """Settings over a database that the tests of a file share, and write into."""
    return shared_settings.model_copy(update={"database_url": migrated_database()})


@pytest.fixture(scope="module")
def module_client(module_settings: Settings) -> Iterator[TestClient]:
    """A client for requests of which some are taken."""
    with client_of(module_settings) as client:
        yield client


class Worker:
    """Claims real stages and ends them without computing anything."""

    def __init__(self, database: Database, top1: float) -> None:
        self.database, self.top1 = database, top1
        self.summary_of: Callable[[Claim], dict[str, Any]] = lambda claim: {"results": self.results(claim)}

    def claim(self) -> Claim | None:
        with self.database.transaction() as session:
            return take(session, ("cpu", "gpu"), worker_id="decreed", device="cpu", lease_seconds=60)

    def succeed(self, claim: Claim) -> None:
        summary = self.summary_of(claim) if claim.kind == "fuse" else {"made": claim.kind}
        with self.database.transaction() as session:
            attempts.succeed(
                session,
                claim.key,
                claim.attempt,
                summary=summary,
                output=f"stages/{claim.key}",
                log=f"made {claim.kind}\n",
            )

    def fail(self, claim: Claim, message: str) -> None:
        with self.database.transaction() as session:
            attempts.fail(session, claim.key, claim.attempt, cause=Cause.DATA_ERROR, message=message, log="oh no\n")

    def report(self, claim: Claim, **progress: Any) -> None:
        with self.database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, [attempts.Fact("progress", 0, progress)])

    def finish_all(self) -> None:
        while (claim := self.claim()) is not None:
            self.succeed(claim)

    def results(self, claim: Claim) -> list[dict[str, Any]]:
        streams = list(claim.params["weights"])
        streams += ["two-stream"] if len(streams) > 1 else []
        metrics = {"top1": self.top1, "top5": 1.0, "mean_class": self.top1, "correct": 50, "clips": 100}
        return [
            {"stream": stream, "split": claim.params["split"], "seed": claim.params["seed"], "metrics": metrics}
            for stream in streams
        ]


@pytest.fixture
def worker(database: Database) -> Callable[..., Worker]:
    """Return a worker whose results have a given top-1 rate."""

    def make(top1: float = 0.5) -> Worker:
        return Worker(database, top1)

    return make
