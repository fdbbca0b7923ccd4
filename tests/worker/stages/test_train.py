"""Temporal networks learn from features; a run that is really killed ends like one that is not."""

import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import models
from services.errors import DataError, UserError
from tests.worker.conftest import PATIENCE_SECONDS, Until
from tests.worker.stages.conftest import SPACED, frames
from worker.contract import Outcome, Task
from worker.host.forkserver import Exit, ForkServer
from worker.stages.features import open_features
from worker.training import checkpoint
from worker.training.interrupt import Interrupted, interrupt

TSLSTM = {"kind": "ts_lstm", "segments": 3, "hidden": [8], "dropout": 0.2}


def params(**changes: Any) -> dict[str, Any]:
    training = {"epochs": 10, "batch_size": 8, "optimizer": {"learning_rate": 0.02}}
    common = {"split": 1, "streams": ["rgb", "flow"], "seed": 2, "model": TSLSTM, "training": training, "input": SPACED}
    return common | changes


@pytest.fixture
def train(stages: Any, features: Any) -> Any:
    def run(name: str = "", **changes: Any) -> Any:
        return stages.run("train", params(**changes), tuple(features[1].values()), name)

    return run


@pytest.mark.parametrize(("streams", "width"), [(["rgb"], 4), (["flow"], 4), (["rgb", "flow"], 8)])
def test_streams_lie_side_by_side(train: Any, streams: list[str], width: int) -> None:
    finished = train(streams=streams)
    network = models.build("ts_lstm", num_classes=2, feature_shape=(width,), hidden=(8,))
    network.load_state_dict(checkpoint.load(finished.output / "model.pt"))
    assert finished.summary["train_clips"] == 36
    assert finished.summary["parameters"] == sum(p.numel() for p in network.parameters())


def test_order_is_learned_by_ts_lstm_and_not_by_pooling(train: Any) -> None:
    training = {"epochs": 30, "batch_size": 8, "optimizer": {"learning_rate": 0.02}}
    assert train(training=training).summary["train_accuracy"] > 0.95
    assert train(training=training, model={"kind": "mean_pooling"}).summary["train_accuracy"] < 0.85


def test_the_history_has_a_row_for_each_epoch(train: Any) -> None:
    finished = train()
    history = json.loads((finished.output / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, 11))
    assert [event["values"] for event in finished.events("metrics")] == [
        {name: value for name, value in row.items() if name != "epoch"} for row in history
    ]


@pytest.mark.parametrize("selection", ["validation", "test"])
def test_the_best_epoch_on_clips_that_are_held_out_is_kept_and_scored(
    stages: Any, features: Any, selection: str
) -> None:
    """The score stage measures the weights that were kept, and finds what the training said of them."""
    training = {"epochs": 9, "batch_size": 8, "optimizer": {"learning_rate": 0.01}, "selection": selection}
    inputs = tuple(features[1].values())
    finished = stages.run("train", params(training=training), inputs)
    history = json.loads((finished.output / "history.json").read_text())
    curve = [row[f"{selection}_accuracy"] for row in history]
    assert finished.summary["selected_epoch"] == curve.index(max(curve)) + 1
    assert finished.summary[f"{selection}_accuracy"] == max(curve)
    held_out = {"validation": (32, 4, "groups"), "test": (36, 4, None)}[selection]
    summary = finished.summary
    assert (summary["train_clips"], summary[f"{selection}_clips"], summary.get("validation_by")) == held_out
    scoring = {name: value for name, value in params().items() if name != "training"} | {"average": "probabilities"}
    scored = stages.run("score", scoring, (*inputs, finished.as_input("train")))
    if selection == "test":
        assert scored.summary["top1"] == max(curve)


def test_validation_is_reported_and_the_last_epoch_kept(stages: Any, features: Any) -> None:
    training = {"epochs": 9, "batch_size": 8, "optimizer": {"learning_rate": 0.01}, "validate": True}
    inputs = tuple(features[1].values())
    finished = stages.run("train", params(training=training), inputs)
    told = [event["values"] for event in finished.events("metrics")]
    assert all(math.isfinite(row["validation_loss"]) and 0 <= row["validation_accuracy"] <= 1 for row in told)
    summary = finished.summary
    assert (summary["selected_epoch"], summary["train_clips"], summary["validation_clips"]) == (9, 32, 4)
    assert summary["validation_loss"] == told[-1]["validation_loss"]
    assert told[0]["validation_loss"] > told[-1]["validation_loss"]


@pytest.mark.parametrize(
    ("model", "seen"),
    [
        ({"kind": "conv_lstm", "hidden": 2, "fc_dim": 4}, {"kind": "snippets", "length": 3}),
        ({"kind": "tsn", "dropout": 0.1}, frames(snippets=3, augmentation=True)),
    ],
)
def test_snippets_and_frames_are_tried_too(
    stages: Any, dataset: Any, extracted: Any, model: dict[str, Any], seen: dict[str, Any]
) -> None:
    inputs = (dataset[1],) if seen["kind"] == "frames" else (dataset[1], extracted("rgb", frames=None))
    training = {"epochs": 2, "batch_size": 2, "optimizer": {"learning_rate": 0.01}, "selection": "test"}
    finished = stages.run("train", params(streams=["rgb"], model=model, input=seen, training=training), inputs)
    history = json.loads((finished.output / "history.json").read_text())
    assert {4 * row["test_accuracy"] for row in history} <= {0, 1, 2, 3, 4}
    assert all(0 < row["test_loss"] < 100 for row in history)


def test_more_segments_than_frames_are_refused(train: Any) -> None:
    with pytest.raises(UserError, match=r"model\.segments: got 7, allowed: 1 to the 6 frames"):
        train(model={"kind": "ts_lstm", "segments": 7})


def test_a_clip_without_features_is_named(features: Any) -> None:
    manifest, inputs = features
    stranger = manifest.clips[0].model_copy(update={"id": "Dark/stranger"})
    with pytest.raises(DataError, match=r"clips\.json: no features of clip Dark/stranger"):
        open_features(inputs["rgb"].path, [stranger])
    relabelled = manifest.clips[0].model_copy(update={"label": 1})
    with pytest.raises(DataError, match=r"has label 0, the manifest says 1"):
        open_features(inputs["rgb"].path, [relabelled])


def test_a_stopped_run_goes_on_to_the_same_weights(train: Any) -> None:
    undisturbed = train()
    interrupt.request()
    with pytest.raises(Interrupted):
        train(name="stopped")
    interrupt.clear()
    resumed = train(name="stopped")
    assert (resumed.output / "model.pt").read_bytes() == (undisturbed.output / "model.pt").read_bytes()


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """The real fork server, with the real stage."""
    server = ForkServer("torch")
    server.start()
    yield server
    server.close()


def start(server: ForkServer, task: Task) -> Any:
    file = task.state.parent / "task.json"
    file.write_text(task.model_dump_json())
    return server.run(file, file.with_name("log"), {})


def outcome(task: Task) -> Outcome:
    return Outcome.model_validate_json(task.result.read_bytes())


@pytest.mark.long  # `tests/worker/training/` ends a loop at each of its steps
def test_sigkill_and_sigterm_in_mid_training_change_no_bit(
    server: ForkServer, stages: Any, features: Any, until: Until
) -> None:
    training = {
        "epochs": 120, "batch_size": 4, "optimizer": {"learning_rate": 0.02}, "checkpoint_epochs": 3,
        "checkpoint_steps": 5,
    }  # fmt: skip
    inputs = tuple(features[1].values())
    undisturbed = stages.task("train", params(training=training), inputs, "undisturbed")
    assert start(server, undisturbed).wait(PATIENCE_SECONDS) == Exit(code=0)
    task = stages.task("train", params(training=training), inputs, "disturbed")
    for number, ending in ((signal.SIGKILL, Exit(signal=9)), (signal.SIGTERM, Exit(code=75)), (signal.SIGKILL, None)):
        before = size(task.events)
        child = start(server, task)
        until(lambda: size(task.events) > before + 2000)  # noqa: B023
        child.terminate(number)
        assert child.wait(PATIENCE_SECONDS) == (ending or Exit(signal=9))
    assert start(server, task).wait(PATIENCE_SECONDS) == Exit(code=0)
    assert outcome(task).status == "succeeded"
    assert (task.output / "model.pt").read_bytes() == (undisturbed.output / "model.pt").read_bytes()


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
