"""What is there, and dropping it, by HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import cache
from services.db.engine import Database
from services.db.tables import StageRow
from services.settings import Settings
from services.stores.artifacts import open_store
from tests.api.clients import client_of
from tests.services.conftest import publish


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, redis_url=redis_url, sweep_seconds=3600)


@pytest.fixture
def features(database: Database, settings: Settings, tmp_path: Path, submit, worker) -> str:
    """The key of features of 1000 bytes that a finished experiment has left."""
    submit()
    worker().finish_all()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "features.npy").write_bytes(b"x" * 1000)
    store = open_store(settings)
    with database.transaction() as session:
        [row] = session.query(StageRow).filter_by(kind="extract")
        row.output = publish(store, tmp_path / "out", row.key, row.attempt)
        return row.key


def test_an_empty_cache_is_empty(client):
    assert client.get("/cache").json() == {"entries": [], "bytes": 0, "bytes_by_kind": {}}
    report = client.post("/cache/gc", json={"max_size": 0}).json()
    assert (report["taken"], report["fits"], report["more"]) == ([], True, False)


def test_what_is_there_is_listed_and_dropped(client, features):
    found = client.get("/cache").json()
    [entry] = found["entries"]
    assert (found["bytes"], found["bytes_by_kind"]) == (1000, {"features": 1000})
    assert (entry["kind"], entry["key"], entry["bytes"], entry["experiments"]) == ("features", features, 1000, [])
    assert (entry["droppable"], entry["reason"]) == (True, None)
    assert client.get("/cache?kind=flow").json()["entries"] == []
    dry = client.post("/cache/gc", json={"max_size": "0.5KB", "dry_run": True}).json()
    assert (dry["freed_bytes"], dry["max_bytes"], dry["dry_run"]) == (1000, 500, True)
    assert client.get("/cache").json() == found
    done = client.post("/cache/gc", json={"max_size": "0.5KB", "kinds": ["features"]}).json()
    assert done == dry | {"dry_run": False}
    assert client.get("/cache").json()["entries"] == []
    [experiment] = client.get("/experiments").json()["items"]
    assert experiment["state"] == "succeeded"
    assert experiment["progress"]["stages"] == {"succeeded": 4, "evicted": 1}
    stages = client.get(f"/experiments/{experiment['id']}/stages").json()
    [stage] = [stage for stage in stages if stage["state"] == "evicted"]
    assert (stage["key"], "made again" in stage["message"]) == (features, True)


def test_a_long_collection_is_asked_again(client, features):
    client.app.dependency_overrides[cache.request_seconds] = lambda: -1.0
    report = client.post("/cache/gc", json={"max_size": 0}).json()
    assert (len(report["taken"]), report["more"]) == (1, False)


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({"max_size": "lots"}, "max_size", "200GB"),
        ({"max_size": -1}, "max_size", "200GB"),
        ({}, "max_size", ""),
        ({"max_size": 0, "kinds": ["films"]}, "kinds.0", "features"),
        ({"max_size": 0, "dry": True}, "dry", ""),
    ],
)
def test_a_wrong_field_is_named(shared, body, field, allowed):
    answer = shared.post("/cache/gc", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert allowed in error["allowed"]


def test_a_user_may_look_and_only_the_administrator_drops(database_url, redis_url, tmp_path):
    settings = Settings(
        home=tmp_path, database_url=database_url, redis_url=redis_url, sweep_seconds=3600, api_token="secret"
    )
    with client_of(settings) as client:
        administrator = {"Authorization": "Bearer secret"}
        key = client.post("/keys", json={"owner": "ada"}, headers=administrator).json()["key"]
        assert client.get("/cache").status_code == 200
        for headers, status in (({}, 401), ({"Authorization": f"Bearer {key}"}, 403)):
            assert client.post("/cache/gc", json={"max_size": 0}, headers=headers).status_code == status
        assert client.post("/cache/gc", json={"max_size": 0}, headers=administrator).status_code == 200
