"""Optuna behind a sweep: its tables, its draws, and what it is told twice."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import inspect

from services.db.engine import Database
from services.errors import Unavailable
from services.specs.sweep import SweepSpec
from services.sweeps.study import Asked, Storage, Study
from tests.services.sweeps.conftest import RATE, SPACE, sweep_of


def study_of(storage: Storage, name: str, **changes: Any) -> tuple[Study, SweepSpec]:
    sweep = sweep_of(**changes)
    return storage.study(name, sweep, sweep.space or {}), sweep


def test_its_tables_lie_in_a_schema_of_their_own(database: Database, storage: Storage) -> None:
    before = set(inspect(database.engine).get_table_names())
    study_of(storage, "swp_1")
    assert set(inspect(database.engine).get_table_names()) == before
    assert "trials" in inspect(database.engine).get_table_names(schema="optuna")


@pytest.mark.parametrize("kind", ["random", "tpe", "grid"])
def test_draws_go_by_seed_and_number_whoever_asks(database: Database, storage: Storage, kind: str) -> None:
    space = {**SPACE, "training.batch_size": {"low": 16, "high": 64, "step": 24}}
    if kind == "grid":
        space[RATE] = {"low": 0.0, "high": 0.8, "step": 0.3}

    def asked(name: str, seed: int, *, anew: bool = False) -> list[Asked]:
        found = []
        for _ in range(4):
            used = Storage(database) if anew else storage
            study, _sweep = study_of(used, name, space=space, sampler={"kind": kind, "seed": seed, "startup_trials": 2})
            found.append(study.ask())
            study.tell(found[-1].number, "succeeded", 0.1 * found[-1].number)
            if anew:
                used.close()
        return found

    one = asked("swp_1", 0)
    assert asked("swp_2", 0, anew=True) == one
    assert asked("swp_3", 1) != one
    assert len({str(each.values) for each in one}) == 4
    assert {each.values["training.batch_size"] for each in one} <= {16, 40, 64}
    if kind == "grid":
        assert {each.values[RATE] for each in one} <= {0.0, 0.3, 0.6}


def test_what_is_said_again_counts_once(storage: Storage) -> None:
    study, sweep = study_of(storage, "swp_1", pruner={"kind": "median", "startup_trials": 1})
    first, second = study.ask(), study.ask()
    assert study.report(first.number, {1: 0.5, 2: 0.6}) is None
    for value in (0.6, 0.1):
        study.tell(first.number, "succeeded", value)
    assert study.report(second.number, {1: 0.4}) == 1
    for _ in range(2):
        study.tell(second.number, "pruned", None)
    again = storage.study("swp_1", sweep, sweep.space or {})
    assert again.report(second.number, {2: 0.9}) is None
    found = again._study.get_trials()
    assert [(trial.state.name, trial.value) for trial in found] == [("COMPLETE", 0.6), ("PRUNED", 0.4)]


def test_one_that_ended_by_itself_leaves_all_of_its_epochs(storage: Storage) -> None:
    study, _ = study_of(storage, "swp_1", pruner={"kind": "median", "startup_trials": 1})
    first, second = study.ask(), study.ask()
    study.report(first.number, {1: 0.5, 2: 0.6}, ended=True)
    study.tell(first.number, "succeeded", 0.6)
    assert study.report(second.number, {1: 0.4, 2: 0.7, 3: 0.8}, ended=True) is None
    assert study._study.get_trials()[second.number].intermediate_values == {1: 0.4, 2: 0.7, 3: 0.8}


def test_a_trial_whose_asker_was_killed_is_found_with_its_values(storage: Storage) -> None:
    study, _ = study_of(storage, "swp_1", sampler={"kind": "random"})
    whole = study.ask()
    assert study.forgotten(()) == whole
    assert study.forgotten({whole.number}) is None
    half = study._study.ask()  # killed before it had any
    found = study.forgotten({whole.number})
    assert found is not None
    assert (found.number, found.values.keys()) == (half.number, SPACE.keys())
    assert study.forgotten({whole.number}) == found


def test_postgres_that_is_away_is_named(database: Database) -> None:
    away = Database("postgresql+psycopg://u:secret@127.0.0.1:1/none", patience_seconds=2)
    with pytest.raises(Unavailable, match=r"Postgres at postgresql\+psycopg://u:\*\*\*@127\.0\.0\.1:1/none"):
        study_of(Storage(away), "swp_1")
    away.close()
