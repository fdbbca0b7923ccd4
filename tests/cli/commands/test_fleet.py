"""What waits, who works, and a worker of one's own."""

from __future__ import annotations

import json

import pytest


def test_the_queue_says_why_stages_wait_and_nobody_works(twostream, submitted):
    code, out, _ = twostream("queue")
    assert code == 0
    assert "index motion_shapes" in out
    assert json.loads(twostream("queue", "--json")[1])[0]["reason"]
    assert json.loads(twostream("workers", "--json")[1]) == []
    assert twostream("workers") == (0, "workers: none\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queues", "fast"], "--queues: got 'fast', allowed: cpu, gpu or cpu,gpu"),
        (["--device", "tpu"], "--device: got 'tpu', allowed: auto, cpu or cuda:N"),
        ([], "not set: TWOSTREAM_DATABASE_URL, TWOSTREAM_REDIS_URL; hint: "),
    ],
)
def test_a_worker_that_cannot_start_says_why(twostream, monkeypatch, arguments, words):
    monkeypatch.delenv("TWOSTREAM_DATABASE_URL", raising=False)
    code, _, err = twostream("worker", *arguments)
    assert (code, words in err) == (2, True)


def test_hours_are_listed_by_owner_and_experiment(twostream, submitted):
    code, out, _ = twostream("usage", "--owner", "nobody")
    assert (code, "by owner: none" in out, "0.00 GPU hours and 0.00 CPU hours" in out) == (0, True, True)
    found = json.loads(twostream("usage", "--experiment", submitted, "--json")[1])
    assert found["total"]["attempts"] == 0
    assert twostream("usage", "--experiment", "exp_none")[0] == 3
    assert twostream("usage", "--days", "0")[0] == 2
