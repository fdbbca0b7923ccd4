"""A sweep on real servers and a real worker, its API killed in the middle: another one goes on with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from cli.stack import ports
from cli.stack.api import Api
from cli.stack.process import Process
from services.board import leaderboard
from services.db.tables import AttemptRow, ExperimentRow, ResultRow, StageRow, SweepTrialRow
from services.specs.sweep import SweepSpec
from services.sweeps import sweeps
from services.sweeps.conductor import Conductor
from services.sweeps.space import opened
from tests.parts import START_SECONDS
from tests.system.conftest import DATASET, Service, kill, training

pytestmark = [pytest.mark.xdist_group("sweeps"), pytest.mark.timeout(1800)]
RATE = "training.optimizer.learning_rate"


def sweep_of(dataset: str, epochs: int, trials: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": "sweep",
        "experiment": {
            "dataset": dataset,
            "splits": [1],
            "streams": ["rgb"],
            "model": {"kind": "ts_lstm", "hidden": [16], "segments": 5},
            "backbone": {"name": "tiny", "finetune": None},
            "training": training(epochs, checkpoint_steps=None),
            "evaluation": {"frames": 9},
        },
        "space": {RATE: {"low": 1e-4, "high": 1e-1, "log": True}, "model.pooling": {"choices": ["max", "mean"]}},
        "pruner": {"kind": "median", "startup_trials": 2},
        "budget": {"trials": trials},
        "parallel": 2,
        **changes,
    }


@contextmanager
def killed_when(service: Service, body: dict[str, Any], ended: int) -> Iterator[str]:
    """Begin a sweep, kill the API with SIGKILL once some trials have ended, and start another; yield the sweep's id."""
    environment = {**service._environment(), "TWOSTREAM_SWEEP_SECONDS": "0.2"}
    with ports.listen(ports.LOOPBACK, 0) as listener:
        part = Api(listener, environment, service.folder / "api.log")
        first = Process.start(part.command())
        first.wait_until(part.healthy, START_SECONDS)
        answer = httpx.post(f"{part.url}/sweeps", json=body, timeout=START_SECONDS)
        assert answer.status_code == 202, answer.text
        sweep_id = answer.json()["id"]
        service.wait_for(lambda: len(_ended(service, sweep_id)) >= ended, "trials", 600)
        kill(first.pid)
        first.stop()
        assert looked(service, sweep_id).row.state == "running"
        second = Process.start(part.command())
        try:
            yield sweep_id
        finally:
            second.stop()


def looked(service: Service, sweep_id: str) -> sweeps.View:
    with service.database.transaction() as session:
        return sweeps.view(session, sweep_id)


def finish(service: Service, sweep_id: str, seconds: float) -> sweeps.View:
    service.wait_for(lambda: looked(service, sweep_id).row.state not in sweeps.LIVE, "the end of the sweep", seconds)
    found = looked(service, sweep_id)
    assert found.row.state == "succeeded", (found.row.message, found.counts)
    return found


def check(service: Service, found: sweeps.View, dataset: str, trials: int) -> str:
    """Check what a sweep leaves, and return it in words."""
    states = Counter(trial.state for trial in found.trials)
    assert [trial.number for trial in found.trials] == list(range(trials))
    assert set(states) <= {"succeeded", "pruned"}, [trial.message for trial in found.trials]
    best = found.best
    assert best is not None
    with service.database.transaction() as session:
        rows = list(session.scalars(select(ExperimentRow).where(ExperimentRow.trial.is_not(None))))
        extracted = session.scalar(
            select(func.count())
            .select_from(AttemptRow)
            .join(StageRow, StageRow.key == AttemptRow.stage_key)
            .where(StageRow.kind == "extract")
        )
        tested = list(session.scalars(select(StageRow.key).where(StageRow.kind.in_(("score", "fuse")))))
        measured = set(session.scalars(select(ResultRow.experiment_id)))
        board = leaderboard.rank(session, dataset=dataset, split=1, stream="rgb")
    causes = Counter((row.state, row.cause) for row in rows if row.state != "succeeded")
    assert causes == ({("cancelled", "pruned"): states["pruned"]} if states["pruned"] else {})
    assert extracted == 1
    assert len(tested) == 2
    assert measured == {best.id}
    assert [row.experiment_id for row in board.rows] == [best.id]
    assert "best_of_trials" in {flag["code"] for flag in board.rows[0].flags}
    words = f"{trials} trials, {states['pruned']} pruned, features computed {extracted} time"
    return f"{words}, {len(board.rows)} ranked: {best.name}, top1 {board.rows[0].value:.3f}"


@pytest.mark.long  # `tests/services/sweeps/` has conductors that take over, of trials that end by decree
def test_a_sweep_goes_on_with_another_conductor(service: Service) -> None:
    """The small form of the test below: the first stops after a trial, in the process of this test."""
    service.start_worker()
    asked = SweepSpec.model_validate(sweep_of(DATASET, epochs=3, trials=4))
    with service.database.transaction() as session:
        made = sweeps.begin(session, asked, opened(asked), owner="local", body_digest="0" * 64)
    for ended in (1, 4):
        conductor = Conductor(service.settings, service.database, service.broker)
        conductor.start()
        service.wait_for(lambda ended=ended: len(_ended(service, made.row.id)) >= ended, "trials")  # type: ignore[misc]
        if ended == 4:
            found = finish(service, made.row.id, 240)
        conductor.stop()
    check(service, found, DATASET, 4)


def _ended(service: Service, sweep_id: str) -> list[SweepTrialRow]:
    return [trial for trial in looked(service, sweep_id).trials if trial.state != "running"]


@pytest.mark.long
def test_twenty_trials_on_motion_shapes(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.start_worker(concurrency=2)
    body = sweep_of("motion_shapes", epochs=30, trials=20)
    with killed_when(service, body, ended=6) as sweep_id:
        found = finish(service, sweep_id, 1500)
    with capsys.disabled():
        print(f"\n{check(service, found, 'motion_shapes', 20)}")
    assert any(trial.state == "pruned" for trial in found.trials)
