"""Hours of machines: by devices held, each attempt once, failed and shared ones too."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from services.db.engine import Database
from services.db.tables import AttemptRow, ExperimentRow, StageRow
from services.errors import Cause, NotFound
from services.queue import hours as accounts
from services.queue.claim import Claim
from services.queue.claim import claim as take
from services.queue.hours import Hours
from services.specs import ExperimentSpec
from tests.services.conftest import Decreed, small_spec, submit

HOURS = {"index": 1, "extract": 2, "train": 3, "score": 4, "fuse": 5}
GPU_HOURS = 2 + 2 * 3 + 4
"""Of the small spec with two GPUs: those of the kinds that use several, and one of the others."""


class Gpu(Decreed):
    """A worker with four GPUs."""

    def claim(self, *queues: str, lease_seconds: float = 30) -> Claim | None:
        options: Any = {"worker_id": "g", "device": "cuda:0,cuda:1,cuda:2,cuda:3", "gpus": 4}
        with self.database.transaction() as session:
            return take(session, queues, lease_seconds=lease_seconds, **options)


def spec(**changes: Any) -> ExperimentSpec:
    return small_spec(resources={"gpus": 2}, **changes)


def set_times(database: Database, ago: timedelta = timedelta(days=1)) -> None:
    """Have each ended attempt taken the hours of its kind, since so long ago, when all experiments were there."""
    with database.transaction() as session:
        now = session.execute(select(AttemptRow.started_at).limit(1)).scalar_one()
        session.execute(update(ExperimentRow).values(created_at=now - ago - timedelta(hours=1)))
        for row in session.scalars(select(AttemptRow).where(AttemptRow.state != "running")):
            kind = session.get_one(StageRow, row.stage_key).kind
            row.started_at = now - ago
            row.finished_at = row.started_at + timedelta(hours=HOURS[kind])
            row.cpu_seconds = 1800.0 if kind == "train" else None


def hours(database: Database, **wanted: Any) -> Hours:
    with database.transaction() as session:
        return accounts.hours(session, **wanted)


def test_hours_are_those_of_devices_held(database: Database) -> None:
    made = submit(database, spec()).row.id
    Gpu(database).run_all()
    set_times(database)
    found = hours(database)
    assert found.total.gpu_hours == pytest.approx(GPU_HOURS)
    assert (found.total.hours, found.total.attempts) == (pytest.approx(15), 5)
    assert (found.total.cpu_hours, found.total.unmeasured) == (pytest.approx(0.5), 4)
    assert (found.total.shared_gpu_hours, found.total.failed_gpu_hours) == (0, 0)
    assert [(row.owner, row.gpu_hours) for row in found.owners] == [("local", pytest.approx(GPU_HOURS))]
    assert [(row.id, row.name, row.gpu_hours) for row in found.experiments] == [
        (made, "small", pytest.approx(GPU_HOURS))
    ]


def test_a_stage_without_a_gpu_holds_none(database: Database) -> None:
    submit(database, small_spec())
    Decreed(database).run_all()
    set_times(database)
    assert (hours(database).total.gpu_hours, hours(database).total.hours) == (0, pytest.approx(15))


def test_failed_and_repeated_attempts_count_each(database: Database) -> None:
    submit(database, spec())
    worker = Gpu(database)
    seen: set[str] = set()

    def fail_the_first_training(claim: Claim) -> None:
        if claim.kind == "train" and claim.key not in seen:
            seen.add(claim.key)
            worker.fail(claim, Cause.PREEMPTED)
        else:
            worker.succeed(claim)

    worker.run_all(fail_the_first_training)
    set_times(database)
    found = hours(database).total
    assert (found.attempts, found.gpu_hours) == (6, pytest.approx(GPU_HOURS + 6))
    assert found.failed_gpu_hours == pytest.approx(6)


def test_what_is_shared_counts_once_for_each_owner_and_once_in_all(database: Database) -> None:
    for owner, seed in (("ann", 0), ("ann", 1), ("bob", 0)):
        submit(
            database, spec(training={"optimizer": {"name": "adam", "learning_rate": 1e-4 * (1 + seed)}}), owner=owner
        )
    Gpu(database).run_all()
    set_times(database)
    found = hours(database)
    training = 3 * 2 + 4  # and scoring, which ann alone did twice; index and features are shared by all three
    assert found.total.gpu_hours == pytest.approx(2 + 2 * training)
    ann, bob = sorted(found.owners, key=lambda row: row.owner)
    assert (ann.gpu_hours, bob.gpu_hours) == (pytest.approx(2 + 2 * training), pytest.approx(2 + training))
    assert ann.shared_gpu_hours == bob.shared_gpu_hours == pytest.approx(2 + training)  # with the other
    assert [row.gpu_hours for row in found.experiments] == [pytest.approx(2 + training)] * 3
    assert sorted(row.shared_gpu_hours for row in found.experiments) == [
        pytest.approx(2),
        *[pytest.approx(2 + training)] * 2,
    ]
    alone = hours(database, owner="bob")
    assert (alone.total.gpu_hours, len(alone.owners), len(alone.experiments)) == (pytest.approx(2 + training), 1, 1)


def test_what_was_there_before_costs_nothing(database: Database) -> None:
    submit(database, spec())
    Gpu(database).run_all()
    set_times(database)
    later = submit(database, spec()).row.id
    assert hours(database, experiment=later).total.attempts == 0
    assert hours(database).total.gpu_hours == pytest.approx(GPU_HOURS)


def test_only_the_part_within_the_time_counts(database: Database) -> None:
    made = submit(database, spec()).row.id
    Gpu(database).run_all()
    set_times(database, ago=timedelta(days=1, hours=2))
    found = hours(database, days=1).total  # what began 26 hours ago, and took 3, 4 and 5 hours
    assert found.gpu_hours == pytest.approx(2 * 1 + 2, abs=0.1)
    assert found.cpu_hours == pytest.approx(0.5 / 3, abs=0.1)
    set_times(database, ago=timedelta(days=300))
    assert hours(database).total.attempts == 0
    assert hours(database, experiment=made).total.gpu_hours == pytest.approx(GPU_HOURS)  # of one, all


def test_what_runs_counts_up_to_now(database: Database) -> None:
    submit(database, spec())
    worker = Gpu(database)
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    claim = worker.claim("gpu")
    assert claim is not None
    with database.transaction() as session:
        session.execute(update(ExperimentRow).values(created_at=datetime(2020, 1, 1).astimezone()))
        row = session.get_one(AttemptRow, (claim.key, claim.attempt))
        row.started_at -= timedelta(hours=2)
    assert hours(database).total.gpu_hours == pytest.approx(2, abs=0.1)


def test_choices(database: Database) -> None:
    submit(database, spec())
    Gpu(database).run_all()
    set_times(database)
    assert hours(database, dataset="ucf101").total.attempts == 0
    assert hours(database, owner="nobody").owners == []
    assert hours(database, dataset="motion_shapes", owner="local").total.attempts == 5
    with pytest.raises(NotFound):
        hours(database, experiment="exp_0")
