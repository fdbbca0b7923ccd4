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


@pytest.mark.parametrize("given", [True, False])
def test_a_worker_asks_no_server_as_another_ones_is_to_be_asked(twostream, monkeypatch, given):
    """What is set for a PostgreSQL elsewhere counts where its address is given too, not for the stack of this home."""
    found = {"database": "postgresql+psycopg://stack", "redis": "redis://stack", "mlflow": "http://stack"}
    monkeypatch.setattr("cli.commands.fleet.stack_addresses", lambda: found)
    environments = []
    monkeypatch.setattr("os.execve", lambda _program, _arguments, environment: environments.append(environment))
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.delenv("TWOSTREAM_DATABASE_URL", raising=False)
    if given:
        monkeypatch.setenv("TWOSTREAM_DATABASE_URL", "postgresql+psycopg://elsewhere")
    assert twostream("worker", "--device", "cpu")[0] == 0
    [environment] = environments
    assert environment["TWOSTREAM_DATABASE_URL"].endswith("elsewhere" if given else "stack")
    assert ("PGSSLMODE" in environment) == given
