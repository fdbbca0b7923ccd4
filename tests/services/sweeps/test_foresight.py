"""What a sweep says beforehand, beside what it then does; and who of its experiments may be deleted when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select

from services import registry
from services.db.engine import Database
from services.db.tables import ExperimentRow, ExperimentStageRow, StageRow
from services.errors import Conflict
from services.planning import review
from services.queue import removal
from services.specs.sweep import SweepSpec
from services.sweeps import foresight, space, sweeps
from services.sweeps.foresight import Foresight
from tests.services.sweeps.conftest import RATE, SMALL, Trainer, begin, conduct, sweep_of

Turns = Callable[[str], None]


def foreseen(database: Database, sweep: SweepSpec) -> Foresight:
    seen = registry.look_again(database, "motion_shapes")
    facts = review.look(database, "motion_shapes", seen)
    with database.transaction() as session:
        return foresight.foresee(session, sweep, space.opened(sweep), seen, facts)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"kind": "random", "seed": 3}},
        {"sampler": {"kind": "grid"}, "space": {RATE: {"choices": [0.1, 0.01]}, "model.segments": {"choices": [1, 3]}}},
        {"sampler": {"kind": "tpe"}},
    ],
    ids=["random", "grid", "tpe"],
)
def test_what_was_foreseen_is_done(database: Database, turn: Turns, changes: dict[str, Any]) -> None:
    sweep = sweep_of(**changes)
    before = foreseen(database, sweep)
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(StageRow)) == 0, "nothing is written"
    found = conduct(database, turn, begin(database, sweep), Trainer(database))
    assert found.row.state == "succeeded"
    assert len(found.trials) == before.trials == before.planned
    with database.transaction() as session:
        done = set(session.scalars(select(ExperimentStageRow.stage_key)))
        first = session.get_one(ExperimentRow, found.trials[0].experiment_id)
        of_first = set(session.scalars(select(ExperimentStageRow.stage_key).filter_by(experiment_id=first.id)))
    assert {stage.stage.key for stage in before.first[2].stages} == of_first
    own = {stage.stage.key for stage, times in before.stages if times}
    assert own <= done, "every trial was drawn as it was foreseen"
    assert sum(before.times(times) for _, times in before.stages) == len(done)
    assert before.shared == 2, "index and features"
    again = foreseen(database, sweep)
    assert {stage.stage.key for stage, times in again.stages if not stage.reused and times} == set()


def test_of_a_long_sweep_the_rest_is_taken_to_be_like_the_first(database: Database) -> None:
    found = foreseen(database, sweep_of(budget={"trials": 320}, sampler={"kind": "random"}))
    assert (found.trials, found.planned) == (320, foresight.DRAWN)
    kinds = [stage.stage.spec.kind for stage, times in found.stages if times == 1]
    assert set(kinds) == {"train"}
    assert sum(found.times(times) for _, times in found.stages if times == 1) == pytest.approx(320)


def test_what_the_spec_refuses_takes_nothing(database: Database) -> None:
    within = {"model.segments": {"choices": [3, 5]}, "evaluation.frames": {"choices": [25, 5]}}
    assert foreseen(database, sweep_of(space=within, sampler={"kind": "grid"})).planned == 4


def delete(database: Database, id_: str | None) -> None:
    assert id_ is not None
    database.run(lambda session: removal.delete(session, id_, sweeps.HOUSE))


def test_a_trial_is_deleted_when_its_sweep_has_ended_and_the_table_keeps_it(database: Database, turn: Turns) -> None:
    sweep_id, trainer = begin(database, sweep_of()), Trainer(database)
    turn(sweep_id)
    trainer.work()
    with database.transaction() as session:
        [first, *_] = sweeps.trials(session, sweep_id)
    words = rf"it is trial 0 of sweep small \({sweep_id}\), which is running; hint: twostream sweep cancel {sweep_id}"
    with pytest.raises(Conflict, match=words):
        delete(database, first.experiment_id)
    found = conduct(database, turn, sweep_id, trainer)
    assert found.best is not None
    delete(database, first.experiment_id)
    delete(database, found.best.id)
    with database.transaction() as session:
        after = sweeps.view(session, sweep_id)
    assert [(trial.value, trial.values) for trial in after.trials] == [
        (trial.value, trial.values) for trial in found.trials
    ]
    assert (after.trials[0].experiment_id, after.best) == (None, None)
    assert (after.row.state, after.row.best_trial) == ("succeeded", found.row.best_trial)


def test_the_best_is_not_deleted_before_its_sweep_has_ended(database: Database, turn: Turns) -> None:
    sweep_id, trainer = begin(database, sweep_of(budget={"trials": 1}, experiment=SMALL)), Trainer(database)
    for _ in range(20):
        with database.transaction() as session:
            best = sweeps.best_experiment(session, sweep_id)
        if best is not None:
            break
        turn(sweep_id)
        trainer.work()
    trainer.work()
    assert best is not None
    with pytest.raises(Conflict, match=r"it is the best configuration of sweep small .* which is finishing"):
        delete(database, best.id)
