"""What a run in MLflow shows from the start."""

from __future__ import annotations

from services.db.tables import ExperimentRow, StageRow
from services.tracking.portraits import flatten, of_experiment, of_stage


def test_an_experiment_shows_its_whole_spec_and_its_owner() -> None:
    row = ExperimentRow(
        name="mine",
        owner="ada",
        recipe=None,
        flags=[{"code": "b"}, {"code": "a"}],
        spec={"splits": [1, 2], "model": {"kind": "lstm"}},
    )
    found = of_experiment(row)
    assert found.name == "mine"
    assert found.params == {"splits": "1,2", "model.kind": "lstm"}
    assert found.tags == {"owner": "ada", "recipe": "", "flags": "a, b"}


def test_a_stage_shows_what_it_is_of() -> None:
    row = StageRow(kind="train", label="train rgb", params={"split": 2, "streams": ["rgb", "flow"], "seed": 0})
    assert of_stage(row).tags == {"kind": "train", "split": "2", "stream": "rgb+flow", "seed": "0"}
    bare = StageRow(kind="index", label="index", params={})
    assert of_stage(bare).tags == {"kind": "index", "split": "", "stream": "", "seed": ""}


def test_a_long_value_is_cut_to_what_mlflow_takes() -> None:
    assert len(flatten({"a": {"b": "x" * 9000}})["a.b"]) == 6000
