"""What waits and why, and who works."""

from __future__ import annotations

from typing import get_args

import pytest

from api.queue import WorkerState
from api.shapes import ExperimentState, StageState
from services.db.tables import EXPERIMENT_STATES, STAGE_STATES, WORKER_STATES
from services.queue import workers
from services.settings import Quota
from tests.api.clients import client_of
from tests.api.conftest import SPEC


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


def walk(client, path: str) -> list[list[dict[str, object]]]:
    """Follow the links from page to page; each page says how many entries there are."""
    pages, totals = [], set()
    while path:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        totals.add(answer.headers["X-Total-Count"])
        path = answer.links.get("next", {}).get("url", "")
    assert totals == {str(sum(map(len, pages)))}
    return pages


@pytest.mark.parametrize("limit", [1, 3, 7, 500])
def test_pages_of_the_queue_hold_every_stage_once(client, submit, limit):
    for seed in range(3):
        submit(dataset="motion_shapes", seeds=[seed])
    whole = client.get("/queue").json()
    pages = walk(client, f"/queue?limit={limit}")
    assert [stage for page in pages for stage in page] == whole
    assert max(map(len, pages)) == min(limit, len(whole))


def test_the_place_in_line_goes_on_over_pages(client, submit, worker):
    for seed in range(4):
        submit(seeds=[seed])
    decreed = worker()
    decreed.succeed(decreed.claim())  # the index, behind which four trainings and their features wait
    places = [stage["position"] for page in walk(client, "/queue?limit=1") for stage in page]
    assert [place for place in places if place] == [*range(1, len([place for place in places if place]) + 1)]


def test_pages_of_workers_hold_every_worker_once(client, database):
    with database.transaction() as session:
        for number in range(5):
            workers.report(session, f"host-{number}", queues=["cpu"], devices=["cpu"], concurrency=1)
    pages = walk(client, "/workers?limit=2")
    assert sorted(found["id"] for page in pages for found in page) == [f"host-{number}" for number in range(5)]
    assert [len(page) for page in pages] == [2, 2, 1]


def test_a_stage_waits_for_any_worker_however_many_there_are(client, database, submit):
    """The reason is of all workers that live, not of those that one page of the listing would show."""
    submit()
    with database.transaction() as session:
        workers.report(session, "the-one", queues=["cpu"], devices=["cpu"], concurrency=1)
        for number in range(201):
            workers.report(session, f"host-{number}", queues=["gpu"], devices=["cpu"], concurrency=1)
    assert "in 1 worker" in client.get("/queue").json()[0]["reason"]


@pytest.mark.parametrize("path", ["/queue", "/workers"])
@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "cursor=x", "cursor=WyJhIl0%3D", "cursor="])
def test_wrong_pages_are_422(shared, path, query):
    answer = shared.get(f"{path}?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == query.partition("=")[0]


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


def test_the_api_says_quotas_and_what_waits_for_them(settings):
    limited = settings.model_copy(update={"quotas": {"*": Quota(stages=0)}})
    with client_of(limited) as client:
        client.post("/experiments", json=SPEC)
        with client.app.state.backend.database.transaction() as session:  # type: ignore[attr-defined]
            workers.report(session, "w", queues=["cpu"], devices=["cpu"], concurrency=1)
        [reason] = {stage["reason"] for stage in client.get("/queue").json() if stage["position"]}
        assert reason == "quota: 'local' runs 0 of 0 stages at once"
    with client_of(settings) as client:
        assert all("quota" not in stage["reason"] for stage in client.get("/queue").json())
