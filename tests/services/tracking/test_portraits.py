"""What a run in MLflow shows from the start."""

from __future__ import annotations

from services.db.tables import ExperimentRow, PaperRow, StageRow
from services.tracking.portraits import MAX_TAG, Measured, flatten, of_experiment, of_stage


def test_an_experiment_shows_its_whole_spec_and_its_owner() -> None:
    row = ExperimentRow(
        name="mine",
        owner="ada",
        recipe=None,
        dataset="ucf101",
        flags=[{"code": "b"}, {"code": "a"}],
        spec={"splits": [1, 2], "model": {"kind": "lstm"}},
    )
    streams = [Measured("flow", "lstm", "25 frames"), Measured("rgb", "ts_lstm", "25 frames")]
    places = [PaperRow(paper="ts_lstm", table_name=name, row="TS-LSTM") for name in ("3", "4")]
    found = of_experiment(row, streams, places)
    assert found.name == "mine"
    assert found.params == {"splits": "1,2", "model.kind": "lstm"}
    assert found.tags == {
        "owner": "ada",
        "recipe": "",
        "flags": "a, b",
        "kind": "experiment",
        "dataset": "ucf101",
        "model": "lstm, ts_lstm",
        "split": "1, 2",
        "stream": "flow, rgb",
        "seed": "",
        "protocol": "25 frames",
        "paper": "ts_lstm",
        "table": "3; 4",
        "row": "TS-LSTM",
    }
    other = of_experiment(row, [streams[0], Measured("rgb", "ts_lstm", "x" * 9000)])
    assert other.tags["protocol"].startswith("flow: 25 frames; rgb: xxx")
    assert len(other.tags["protocol"]) == MAX_TAG
    below = of_stage(StageRow(kind="fuse", label="fuse", params={"split": 2, "seed": 0}), found).tags
    inherited = {name: found.tags[name] for name in ("dataset", "model", "protocol", "flags", "paper", "table", "row")}
    assert below == {"kind": "fuse", "split": "2", "stream": "", "seed": "0", **inherited}


def test_a_stage_shows_what_it_is_of() -> None:
    row = StageRow(kind="train", label="train rgb", params={"split": 2, "streams": ["rgb", "flow"], "seed": 0})
    assert of_stage(row).tags == {"kind": "train", "split": "2", "stream": "rgb+flow", "seed": "0", "model": ""}
    bare = StageRow(kind="index", label="index", params={})
    assert of_stage(bare).tags == {"kind": "index", "split": "", "stream": "", "seed": "", "model": ""}


def test_a_long_value_is_cut_to_what_mlflow_takes() -> None:
    assert len(flatten({"a": {"b": "x" * 9000}})["a.b"]) == 6000
