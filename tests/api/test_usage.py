"""Use of machines, time left and starts, as the interface tells them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from services.db.tables import AttemptRow
from services.queue import attempts, workers
from services.queue.attempts import Usage
from services.queue.curve import MEBIBYTE, Recorder, Sample
from services.words import about, lasting

MACHINE = {
    "cpu": 0.5,
    "cores": 4,
    "memory_bytes": 6,
    "memory_total_bytes": 8,
    "gpus": [{"name": "cuda:0", "busy": 0.25, "memory_bytes": 1, "memory_total_bytes": 4}],
}


def measured(*cpu: float, gpu: float | None = None) -> Usage:
    recorder = Recorder()
    for second, value in enumerate(cpu):
        recorder.add(second, Sample(cpu=value, memory_bytes=value * 100 * MEBIBYTE, gpu=gpu))
    return Usage(cpu_seconds=sum(cpu), curves=recorder.kept())


def report(database):
    with database.transaction() as session:
        options = {"queues": ["cpu", "gpu"], "devices": ["cpu"], "concurrency": 1, "use": MACHINE}
        workers.report(session, "decreed", **options)


def test_what_attempts_use_as_curves(client, submit, worker, database):
    made = submit()["id"]
    runner = worker()
    first = runner.claim()
    with database.transaction() as session:
        attempts.heartbeat(session, first.key, first.attempt, 60, usage=measured(1, 2))
    [running] = client.get(f"/experiments/{made}/use").json()
    assert (running["state"], running["mean_cpu"], running["cpu_hours"]) == ("running", 1.5, 3 / 3600)
    runner.succeed(first)
    second = runner.claim()
    with database.transaction() as session:
        cause = attempts.Cause.DATA_ERROR
        attempts.fail(session, second.key, second.attempt, cause=cause, message="no", usage=measured(4, 2, gpu=0.5))
    found = client.get(f"/experiments/{made}/use").json()
    assert [(each["name"], each["attempt"], each["state"]) for each in found] == [
        ("index motion_shapes", 1, "succeeded"),
        ("extract tiny rgb", 1, "failed"),
    ]
    assert found[1]["curves"] == {
        "spacing_seconds": 1.0,
        "cpu": [4, 2],
        "memory_bytes": [400 * MEBIBYTE, 200 * MEBIBYTE],
        "gpu": [0.5, 0.5],
        "gpu_memory_bytes": [],
    }
    assert (found[1]["mean_gpu"], found[1]["most_memory_bytes"]) == (0.5, 400 * MEBIBYTE)
    assert client.get(f"/experiments/{made}/use?stage=extract tiny rgb").json() == found[1:]
    assert client.get(f"/experiments/{made}/use?stage=nope").status_code == 404
    assert client.get("/experiments/exp_0/use").status_code == 404


def test_hours_by_owner_and_experiment(client, submit, worker, database):
    made = submit()
    runner = worker()
    runner.finish_all()
    with database.transaction() as session:
        for row in session.scalars(select(AttemptRow)):
            row.gpus, row.cpu_seconds = 2, 36.0
            row.finished_at = row.started_at + timedelta(seconds=36)
    found = client.get("/usage?days=1").json()
    assert found["total"]["attempts"] == 5
    assert found["total"]["cpu_hours"] > 0
    assert [row["owner"] for row in found["owners"]] == [made["owner"]]
    assert [row["id"] for row in found["experiments"]] == [made["id"]]
    assert client.get(f"/usage?experiment={made['id']}").json()["total"]["attempts"] == 5
    assert client.get("/usage?owner=nobody").json()["owners"] == []
    assert client.get("/usage?experiment=exp_0").status_code == 404
    assert client.get("/usage?days=0").status_code == 422


def test_workers_say_what_they_do_and_what_it_uses(client, submit, worker, database):
    submit()
    report(database)
    runner = worker()
    claim = runner.claim()
    with database.transaction() as session:
        attempts.heartbeat(session, claim.key, claim.attempt, 60, usage=measured(1.5))
    [found] = client.get("/workers").json()
    assert found["use"] == MACHINE
    [work] = found["work"]
    assert (work["label"], work["cpu"], work["gpu"], work["gpus"]) == ("index motion_shapes", 1.5, None, 0)
    page = client.get("/workers", headers={"Accept": "text/html"}).text
    for words in ("50 % of 4 CPUs", "25 % of cuda:0", "1.5 CPUs", "157 MB"):
        assert words in page
    with database.transaction() as session:
        workers.leave(session, "decreed")
    assert client.get("/workers").json()[0]["use"] is None


def test_time_left_and_starts_everywhere(client, submit, worker, database):
    submit()
    runner = worker()
    runner.finish_all()
    lengths = {"train": 7200, "score": 3600, "fuse": 60, "extract": 60, "index": 60}
    with database.transaction() as session:
        for row in session.scalars(select(AttemptRow)):
            kind = session.get_one(attempts.StageRow, row.stage_key).kind
            row.started_at = row.finished_at - timedelta(seconds=lengths[kind])
    again = submit(training={"optimizer": {"name": "adam", "learning_rate": 1e-3}})["id"]
    report(database)
    train = runner.claim()
    stages = {stage["kind"]: stage for stage in client.get(f"/experiments/{again}/stages").json()}
    left = stages["train"]["time_left_seconds"]
    assert 7000 < left["low"] <= left["high"] <= 7200
    assert stages["train"]["starts_in_seconds"] is None
    assert 10_500 < stages["fuse"]["starts_in_seconds"]["low"] <= 10_800
    assert stages["index"]["time_left_seconds"] is None
    assert 10_500 < client.get(f"/experiments/{again}").json()["time_left_seconds"]["high"] <= 10_860
    waiting = {stage["kind"]: stage for stage in client.get("/queue").json()}
    assert 7000 < waiting["score"]["starts_in_seconds"]["low"] <= 7200
    queue = client.get("/queue", headers={"Accept": "text/html"}).text
    assert queue.count("about 2.0 h") == 2
    page = client.get(f"/experiments/{again}", headers={"Accept": "text/html"}).text
    assert "about 3.0 h left" in page
    assert "starts in about 2.0 h" in page
    with database.transaction() as session:
        attempts.heartbeat(session, train.key, train.attempt, 60, usage=measured(1, 3, gpu=0.5))
    page = client.get(f"/experiments/{again}", headers={"Accept": "text/html"}).text
    assert "2.0 CPUs on average" in page
    assert "<polyline" in page


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0, None, "unknown"),
        (90, None, "at least 2 min"),
        (0, 0, "a moment"),
        (41, 44, "about 45 s"),
        (300, 330, "about 6 min"),
        (300, 480, "5 to 8 min"),
        (40, 90, "40 s to 2 min"),
        (7200, 4 * 3600, "2.0 to 4.0 h"),
        (86400, 86400 * 3, "1.0 to 3.0 d"),
    ],
)
def test_ranges_in_words(low, high, words):
    assert about(low, high) == words


def test_no_time_is_written_in_a_unit_too_small():
    assert [lasting(seconds) for seconds in (0, 54, 55, 3569, 3570, 86399, 86400)] == [
        "5 s",
        "55 s",
        "1 min",
        "59 min",
        "1.0 h",
        "24.0 h",
        "1.0 d",
    ]
