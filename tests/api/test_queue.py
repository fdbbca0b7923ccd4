"""What waits and why, and who works."""

from __future__ import annotations

from services import workers


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
