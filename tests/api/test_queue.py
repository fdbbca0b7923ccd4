"""What waits and why, and who works."""

from __future__ import annotations

from typing import get_args

import pytest

from api.queue import WorkerState
from api.shapes import ExperimentState, StageState
from services import workers
from services.db.tables import EXPERIMENT_STATES, STAGE_STATES, WORKER_STATES


def test_queue_says_why_each_stage_waits(client, submit):
    submit()
    found = client.get("/queue").json()
    assert len(found) == 5
    first = found[0]
    assert (first["kind"], first["queue"], first["position"]) == ("index", "cpu", 1)
    assert "no live worker serves queue 'cpu'" in first["reason"]
    assert all(stage["position"] is None and stage["reason"].startswith("needs ") for stage in found[1:])


def test_workers_are_listed(client, database):
    assert client.get("/workers").json() == []
    with database.transaction() as session:
        workers.report(session, "host-1", queues=["cpu", "gpu"], devices=["cpu"], concurrency=2)
    [found] = client.get("/workers").json()
    assert (found["id"], found["queues"], found["state"]) == ("host-1", ["cpu", "gpu"], "alive")


def test_a_worker_that_takes_no_work_is_listed_with_its_reason(client, database):
    with database.transaction() as session:
        workers.report(session, "host-1", queues=["cpu"], devices=["cpu"], concurrency=1, draining="the disk is full")
    [found] = client.get("/workers").json()
    assert (found["state"], found["message"]) == ("draining", "the disk is full")


@pytest.mark.parametrize(
    ("answered", "stored"),
    [(WorkerState, WORKER_STATES), (StageState, STAGE_STATES), (ExperimentState, EXPERIMENT_STATES)],
)
def test_every_state_that_a_table_holds_can_be_answered(answered, stored):
    assert set(get_args(answered)) == set(stored)
