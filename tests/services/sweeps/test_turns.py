"""A sweep from its first trial to its best one, whatever sampler and pruner, and whoever is killed in between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from services.api_keys import Caller
from services.board import leaderboard
from services.db.engine import Database
from services.db.tables import ExperimentRow, OutboxRow, ResultRow, StageRow
from services.errors import Cause, Conflict, Forbidden
from services.planning import submission
from services.planning.dry_run import foresee
from services.queue import experiments
from services.queue.claim import Claim
from services.recipes import resolve
from services.specs import ExperimentSpec
from services.stores.broker import Broker
from services.sweeps import sweeps
from services.sweeps.study import Storage, Study
from services.sweeps.turn import HOPELESS, Turn
from tests.services.sweeps.conftest import RATE, SMALL, Trainer, begin, conduct, sweep_of

Take = Callable[[str], None]


def rows(database: Database, sweep_id: str) -> list[ExperimentRow]:
    with database.transaction() as session:
        query = select(ExperimentRow).where(ExperimentRow.sweep_id == sweep_id)
        return list(session.scalars(query.order_by(ExperimentRow.trial.nulls_last())))


def view(database: Database, sweep_id: str) -> sweeps.View:
    with database.transaction() as session:
        return sweeps.view(session, sweep_id)


TRIALS = {"grid": 99, "random": 3, "tpe": 4}


@pytest.mark.parametrize("sampler", ["grid", "random", pytest.param("tpe", marks=pytest.mark.long)])
def test_the_best_trial_is_trained_as_a_whole_and_ranked_alone(database: Database, turn: Take, sampler: str) -> None:
    space = {RATE: {"choices": [1e-3, 1e-2, 1e-1]}, "model.segments": {"choices": [1, 3]}}
    asked = sweep_of(
        space=space, sampler={"kind": sampler, "startup_trials": 2}, budget={"trials": TRIALS[sampler]}, parallel=3
    )
    trainer = Trainer(database)
    found = conduct(database, turn, begin(database, asked), trainer)
    assert found.row.state == "succeeded"
    assert len(found.trials) == min(6, TRIALS[sampler])
    tried = {(trial.values[RATE], trial.values["model.segments"]) for trial in found.trials}
    if sampler == "grid":
        assert len(tried) == 6
    *trials, best = rows(database, found.row.id)
    assert all(row.state == "succeeded" for row in trials)
    assert {tuple(row.spec["splits"]) for row in trials} == {(1,)}
    assert {row.spec["training"]["selection"] for row in trials} == {"validation"}
    assert (best.spec["splits"], best.spec["training"]["selection"]) == ([1, 2], "last")
    top = max(found.trials, key=lambda trial: trial.value or 0)
    assert (found.row.best_trial, best.spec["training"]["optimizer"]["learning_rate"]) == (top.number, top.values[RATE])
    assert [label for label in trainer.labels if label.startswith("extract")] == ["extract tiny rgb"]
    with database.transaction() as session:
        assert set(session.scalars(select(ResultRow.experiment_id))) == {best.id}
        board = leaderboard.rank(session, dataset="motion_shapes", split=1, stream="rgb")
    assert [(row.experiment_id, [flag["code"] for flag in row.flags]) for row in board.rows] == [
        (best.id, ["best_of_trials"])
    ]
    assert f"best of {len(trials)} trials by accuracy on groups of clips held out" in best.flags[0]["sentence"]


@pytest.mark.parametrize(
    "pruner",
    [
        {"kind": "median", "startup_trials": 1},
        pytest.param({"kind": "successive_halving", "factor": 2}, marks=pytest.mark.long),
    ],
)
def test_a_pruner_ends_what_is_worse_and_that_is_no_failure(
    database: Database, turn: Take, pruner: dict[str, Any]
) -> None:
    def accuracy(claim: Claim, epoch: int) -> float:
        return {1: 0.8, 3: 0.1}[claim.params["model"]["segments"]]

    axes = {"model.segments": {"choices": [1, 3]}}
    asked = sweep_of(space=axes, sampler={"kind": "grid", "seed": 1}, pruner=pruner, parallel=1)
    sweep_id, trainer = begin(database, asked), Trainer(database, accuracy)
    turn(sweep_id)
    trainer.work()
    turn(sweep_id)  # the first has ended, the second begins
    claim = trainer.claim_any()
    assert claim is not None
    assert (claim.kind, claim.params["model"]["segments"]) == ("train", 3)
    trainer.learn(claim, range(1, 3))
    turn(sweep_id)
    experiment = next(row for row in rows(database, sweep_id) if row.trial == 1)
    assert (experiment.state, experiment.cause) == ("cancelling", "pruned")
    trainer.fail(claim, Cause.CANCELLED)
    found = conduct(database, turn, sweep_id, trainer)
    assert (found.row.state, found.counts, found.row.best_trial) == ("succeeded", {"succeeded": 1, "pruned": 1}, 0)
    assert (found.trials[1].value, found.trials[1].epochs) == (0.1, 1)
    experiment = next(row for row in rows(database, sweep_id) if row.trial == 1)
    assert (experiment.state, experiment.cause) == ("cancelled", "pruned")
    assert experiment.message == f"10.0 % after 1 epoch: {pruner['kind']} ends it"


def test_who_repeats_the_best_or_starts_from_it_says_so(database: Database, turn: Take) -> None:
    """What a sweep has chosen is so under whatever name, split and seed, and in whatever uses its weights."""
    asked = sweep_of(space={RATE: {"choices": [1e-3, 1e-2]}}, sampler={"kind": "grid"}, budget={"trials": 2})
    found = conduct(database, turn, begin(database, asked), Trainer(database))
    *_, best = rows(database, found.row.id)
    own = {name: value for name, value in best.spec.items() if name not in ("name", "splits")}
    weights = {"experiment": best.id}
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({**own, "splits": [1], "seeds": [7], "priority": 3}, ["training"]),
        ({**own, "training": {**own["training"], "epochs": 9}}, []),
        ({**SMALL, "model": {"kind": "ts_lstm", "weights": weights}}, ["model.weights"]),
    ]
    for body, fields in cases:
        spec = ExperimentSpec.model_validate(body)
        with database.transaction() as session:
            tried = [each for each in foresee(session, spec).findings if each.code == "best_of_trials"]
            made = submission.submit(session, spec, owner="bo", body_digest="0" * 64).row.flags
        assert [each.field for each in tried] == fields
        assert [flag["field"] for flag in made if flag["code"] == "best_of_trials"] == fields
        assert all(found.row.id in each.sentence for each in tried)


def test_a_recipe_as_it_stands_was_chosen_by_its_paper(database: Database, turn: Take) -> None:
    spec, recipe = resolve({"recipe": "demo_ts_lstm"})
    space = {RATE: {"choices": [spec.training.optimizer.learning_rate]}}
    found = conduct(
        database, turn, begin(database, sweep_of(experiment={"recipe": recipe}, space=space)), Trainer(database)
    )
    assert found.row.state == "succeeded"
    with database.transaction() as session:
        codes = [{each.code for each in foresee(session, spec, named).findings} for named in (None, recipe)]
    assert ["best_of_trials" in each for each in codes] == [True, False]


class Killed(BaseException):
    """The end of a process at some line; no handler of ours catches it."""


PLACES = ("ask", "submit", "ring", "report", "write", "tell", "choose")


class Deadly:
    """Kills whoever comes to some places for the first time, before and after what is done there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[tuple[str, str]] = []
        for owner, method, place in (
            (Study, "ask", "ask"),
            (Turn, "_submit", "submit"),
            (Broker, "ring", "ring"),
            (Study, "report", "report"),
            (Turn, "_write_end", "write"),
            (Study, "tell", "tell"),
            (Turn, "_choose", "choose"),
        ):
            monkeypatch.setattr(owner, method, self.lethal(getattr(owner, method), place))

    def lethal(self, real: Callable[..., Any], place: str) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            self.kill(place, "before")
            result = real(*arguments, **options)
            self.kill(place, "after")
            return result

        return called

    def kill(self, place: str, when: str) -> None:
        if (place, when) not in self.killed:
            self.killed.append((place, when))
            raise Killed


def test_another_process_goes_on_where_one_was_killed_at_every_step(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep_id = begin(database, sweep_of(sampler={"kind": "random"}, budget={"trials": 3}, parallel=1))
    deadly, trainer = Deadly(monkeypatch), Trainer(database)
    while view(database, sweep_id).row.state in sweeps.LIVE:
        storage = Storage(database)  # each process has its own
        with contextlib.suppress(Killed):
            while view(database, sweep_id).row.state in sweeps.LIVE:
                Turn(database, broker, storage, sweep_id).take()
                trainer.work()
        storage.close()
        trainer.work()
    assert sorted(deadly.killed) == sorted((place, when) for place in PLACES for when in ("before", "after"))
    found = view(database, sweep_id)
    assert (found.row.state, [trial.number for trial in found.trials]) == ("succeeded", [0, 1, 2])
    assert all(trial.told for trial in found.trials)
    assert len(rows(database, sweep_id)) == 4
    with database.transaction() as session:
        states = session.execute(text("SELECT number, state::text FROM optuna.trials ORDER BY number")).all()
    assert [tuple(row) for row in states] == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]


def test_cancelling_ends_its_trials_and_nobody_elses(database: Database, turn: Take) -> None:
    sweep_id = begin(database, sweep_of(parallel=2))
    turn(sweep_id)
    with pytest.raises(Forbidden, match="belongs to 'ana'"):
        sweeps.cancel(database, sweep_id, Caller("eve"))
    assert sweeps.cancel(database, sweep_id, Caller("ana")).state == "cancelling"
    turn(sweep_id)
    found = view(database, sweep_id)
    assert (found.row.state, found.counts) == ("cancelled", {"cancelled": 2})
    assert {(row.state, row.message) for row in rows(database, sweep_id)} == {("cancelled", "its sweep was cancelled")}
    with pytest.raises(Conflict, match="it has cancelled"):
        sweeps.cancel(database, sweep_id, Caller("ana"))
    turn(sweep_id)
    assert len(rows(database, sweep_id)) == 2


def test_a_cancel_that_was_killed_half_way_is_finished_by_a_turn(database: Database, turn: Take) -> None:
    sweep_id = begin(database, sweep_of(parallel=2))
    turn(sweep_id)
    with database.transaction() as session:
        sweeps.locked(session, sweep_id).state = "cancelling"
    turn(sweep_id)
    assert view(database, sweep_id).row.state == "cancelled"


def test_a_sweep_whose_trials_all_fail_gives_up_and_says_why(database: Database, turn: Take) -> None:
    sweep_id, worker = begin(database, sweep_of(budget={"trials": 50}, parallel=2)), Trainer(database)
    for _ in range(10):
        turn(sweep_id)
        while (claim := worker.claim_any()) is not None:
            if claim.kind == "train":
                worker.fail(claim, Cause.DATA_ERROR, "no such clip")
            else:
                worker.succeed(claim)
    found = view(database, sweep_id)
    assert found.row.state == "failed"
    assert HOPELESS <= len(found.trials) <= HOPELESS + 1
    assert "no such clip" in (found.row.message or "")


def test_a_trial_that_has_ended_is_ended_no_other_way(database: Database, broker: Broker, storage: Storage) -> None:
    sweep_id = begin(database, sweep_of(parallel=1))
    late = Turn(database, broker, storage, sweep_id)
    late.take()
    late._write(0, state="pruned", value=0.25)
    late._write(0, state="succeeded", value=0.75)
    late._write(0, told=True)
    [trial] = view(database, sweep_id).trials
    assert (trial.state, trial.value, trial.told) == ("pruned", 0.25, True)


def test_a_sweep_goes_on_where_one_of_its_first_trials_did_not_fail(database: Database, turn: Take) -> None:
    sweep_id = begin(database, sweep_of(budget={"trials": HOPELESS + 1}, parallel=HOPELESS + 1))
    turn(sweep_id)
    first, *others = rows(database, sweep_id)
    with database.transaction() as session:
        experiments.cancel(session, first.id, Caller("ana"))
        session.execute(text("UPDATE experiment SET state = 'failed' WHERE id <> :id"), {"id": first.id})
    turn(sweep_id)
    assert view(database, sweep_id).counts == {"cancelled": 1, "failed": len(others)}
    assert "ran to its end" in (view(database, sweep_id).row.message or "")


def test_a_trial_that_a_user_cancelled_or_the_spec_refuses_is_none_of_the_best(database: Database, turn: Take) -> None:
    axes = {"model.segments": {"choices": [1, 3]}, "evaluation.frames": {"choices": [25, 30]}}
    sweep_id = begin(database, sweep_of(space=axes, sampler={"kind": "grid"}, parallel=4))
    turn(sweep_id)
    first, *_ = rows(database, sweep_id)
    with database.transaction() as session:
        experiments.cancel(session, first.id, Caller("ana"))
    found = conduct(database, turn, sweep_id, Trainer(database))
    assert (found.row.state, found.counts) == ("succeeded", {"cancelled": 1, "succeeded": 3})
    assert found.row.best_trial != first.trial


def test_one_on_the_test_list_flags_every_number(database: Database, turn: Take) -> None:
    trainer = Trainer(database, metric="test_accuracy")
    found = conduct(database, turn, begin(database, sweep_of(objective="test", budget={"trials": 2})), trainer)
    *trials, best = rows(database, found.row.id)
    for row in [*trials, best]:
        assert "selected_on_test" in {flag["code"] for flag in row.flags}
        assert row.spec["training"]["selection"] == "test"
    with database.transaction() as session:
        asked = {"dataset": "motion_shapes", "split": 1, "stream": "rgb"}
        assert leaderboard.rank(session, **asked).rows == ()
        [shown] = leaderboard.rank(session, **asked, selected_on_test="flag").rows
    assert (shown.experiment_id, shown.selected_on_test) == (best.id, True)


def test_mlflow_hears_of_one_parent_and_that_it_ended(database: Database, turn: Take) -> None:
    found = conduct(database, turn, begin(database, sweep_of(budget={"trials": 2})), Trainer(database))
    with database.transaction() as session:
        told = list(session.scalars(select(OutboxRow).where(OutboxRow.data.has_key("sweep")).order_by(OutboxRow.id)))
    parent = {"id": found.row.id, "name": "small"}
    assert [row.data["sweep"] for row in told] == [parent] * 4
    assert [row.kind for row in told] == ["open", "open", "open", "status"]
    assert told[-1].data["status"] == "FINISHED"


def test_gpu_hours_end_a_sweep_and_what_was_there_before_costs_nothing(database: Database, turn: Take) -> None:
    trainer = Trainer(database)
    sweep_id = begin(database, sweep_of(budget={"gpu_hours": 1.0}, parallel=1))
    turn(sweep_id)
    trainer.work()
    took = "UPDATE attempt SET device = 'cuda:0', gpus = 2, started_at = finished_at - interval '20 minutes'"
    with database.transaction() as session:
        # Features were computed by processors of a host with a GPU, which cost no hours of GPUs.
        session.execute(text("UPDATE attempt SET device = 'cuda:0', started_at = started_at - interval '30 minutes'"))
        before = "UPDATE attempt SET gpus = 2, started_at = started_at - interval '2 days'"
        session.execute(text(f"{before} WHERE stage_key IN (SELECT key FROM stage WHERE kind = 'index')"))
        session.execute(text("UPDATE sweep SET created_at = created_at - interval '1 hour'"))
        session.execute(text(f"{took} WHERE stage_key IN (SELECT key FROM stage WHERE kind = 'train')"))
    turn(sweep_id)
    trainer.work()
    with database.transaction() as session:
        session.execute(text(f"{took} WHERE stage_key IN (SELECT key FROM stage WHERE kind = 'train')"))
    assert view(database, sweep_id).gpu_hours == pytest.approx(80 / 60, abs=0.01)
    found = conduct(database, turn, sweep_id, trainer)
    assert (found.row.state, len(found.trials)) == ("succeeded", 2)


def test_a_trial_has_no_stage_that_tests(database: Database, turn: Take) -> None:
    sweep_id = begin(database, sweep_of(experiment={**SMALL, "streams": ["rgb", "flow"]}, parallel=1))
    turn(sweep_id)
    with database.transaction() as session:
        kinds = list(session.scalars(select(StageRow.kind).where(StageRow.kind.in_(("train", "score", "fuse")))))
    assert kinds == ["train", "train"]
