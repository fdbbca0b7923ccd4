"""Networks that start from what other stages trained, and what their weights say that they have seen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from services.errors import UserError
from tests.worker.stages.conftest import TRAINING, frames
from worker.stages.seen import UNKNOWN, Seen, read_seen
from worker.stages.start import load_network
from worker.training import checkpoint

FROZEN = {**TRAINING, "epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-9}}
CLASSIFIER = ["classifier.bias", "classifier.weight"]


def finetune_params(**changes: Any) -> dict[str, Any]:
    return {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0, "augmentation": None, "training": FROZEN, **changes,
    }  # fmt: skip


@pytest.fixture
def finetune(stages: Any, dataset: Any) -> Any:
    def run(*weights: Any, **changes: Any) -> Any:
        return stages.run("finetune", finetune_params(**changes), (dataset[1], *weights))

    return run


def other_classes(finished: Any, folder: Path, seen: bool = True) -> Any:
    """The output of a stage as if it had been trained on five classes."""
    state = checkpoint.load(finished.output / "model.pt")
    kept = dict(vars(state)) if seen else {}
    for name in [name for name in state if name.split(".")[-2] == "classifier"]:
        state[name] = torch.randn(5, *state[name].shape[1:])
    vars(state).clear()
    vars(state).update(kept)
    folder.mkdir()
    checkpoint.save(folder / "model.pt", state)
    return finished.as_input("weights").model_copy(update={"path": folder})


def test_a_convnet_starts_from_another_stages(finetune: Any) -> None:
    first = finetune(seed=5)
    second = finetune(first.as_input("weights"))
    before, after = (checkpoint.load(run.output / "model.pt") for run in (first, second))
    for name in before:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(after[name], before[name])
    assert "dropped" not in second.summary


def test_a_classifier_of_other_classes_is_dropped_and_the_summary_says_so(finetune: Any, tmp_path: Path) -> None:
    first = finetune(seed=5)
    second = finetune(other_classes(first, tmp_path / "other"))
    before, after = (checkpoint.load(run.output / "model.pt") for run in (first, second))
    torch.testing.assert_close(after["backbone.network.3.weight"], before["backbone.network.3.weight"])
    assert after["classifier.weight"].shape == before["classifier.weight"].shape
    assert not torch.equal(after["classifier.weight"], before["classifier.weight"])
    assert sorted(second.summary["dropped"]) == CLASSIFIER


def test_our_own_file_is_a_file_of_weights(finetune: Any) -> None:
    first = finetune(seed=5)
    path = first.output / "model.pt"
    second = finetune(backbone={"name": "tiny", "weights": str(path)})
    before, after = (checkpoint.load(run.output / "model.pt") for run in (first, second))
    torch.testing.assert_close(after["backbone.network.3.weight"], before["backbone.network.3.weight"])
    assert read_seen(second.output / "model.pt") == read_seen(path)


def test_weights_of_another_architecture_name_the_stage(finetune: Any) -> None:
    first = finetune(seed=5)
    with pytest.raises(UserError, match=r"^backbone\.weights: stage 0{12}: weights of another architecture: conv1"):
        finetune(first.as_input("weights"), backbone={"name": "resnet18"})


def test_weights_say_what_they_have_seen(finetune: Any, dataset: Any) -> None:
    manifest = dataset[0]
    first = finetune(seed=5, split=2)
    second = finetune(first.as_input("weights"))
    seen = read_seen(second.output / "model.pt")
    assert [(entry.dataset, entry.split) for entry in seen.splits] == [("shades", 2), ("shades", 1)]
    assert seen.complete
    train = {clip.id: clip for clip in manifest.clips if clip.id in manifest.splits[1].train}
    lines = "".join(f"{name} {train[name].sha256}\n" for name in sorted(train))
    assert seen.splits[1].digest == hashlib.sha256(lines.encode()).hexdigest()
    assert read_seen(first.output / "model.pt") == Seen(seen.splits[:1])


def test_weights_of_before_are_taken_and_say_nothing(finetune: Any, tmp_path: Path) -> None:
    old = other_classes(finetune(), tmp_path / "old", seen=False)
    assert read_seen(old.path / "model.pt") == UNKNOWN
    seen = read_seen(finetune(old).output / "model.pt")
    assert ([entry.split for entry in seen.splits], seen.complete) == ([1], False)


TSN_PARAMS: dict[str, Any] = {"split": 1, "seed": 2, "streams": ["rgb"], "training": FROZEN}
SEEN = {"snippets": 2, "augmentation": False}


@pytest.fixture
def tsn(stages: Any, dataset: Any) -> Any:
    def run(*weights: Any, **changes: Any) -> Any:
        own = {"model": {"kind": "tsn", "segments": 2}, "input": frames(**SEEN)}
        return stages.run("train", {**TSN_PARAMS, **own, **changes}, (*dataset[1:], *weights))

    return run


def test_a_temporal_network_starts_from_another_stages(tsn: Any, tmp_path: Path) -> None:
    first = tsn(seed=7)
    source = first.as_input("model/0/all")
    second = tsn(source)
    before, after = (checkpoint.load(run.output / "model.pt") for run in (first, second))
    torch.testing.assert_close(after["convnet.classifier.weight"], before["convnet.classifier.weight"])
    other = other_classes(first, tmp_path / "other").model_copy(update={"name": "model/0/all"})
    third = tsn(other)
    after = checkpoint.load(third.output / "model.pt")
    torch.testing.assert_close(after["convnet.backbone.network.0.weight"], before["convnet.backbone.network.0.weight"])
    assert sorted(third.summary["dropped"]) == [f"convnet.{name}" for name in CLASSIFIER]
    assert [entry.split for entry in read_seen(third.output / "model.pt").splits] == [1]


def test_a_temporal_network_starts_from_our_own_file(tsn: Any) -> None:
    path = tsn(seed=7).output / "model.pt"
    second = tsn(model={"kind": "tsn", "segments": 2, "weights": str(path)})
    before, after = checkpoint.load(path), checkpoint.load(second.output / "model.pt")
    torch.testing.assert_close(after["convnet.classifier.weight"], before["convnet.classifier.weight"])


def test_a_backbone_is_taken_from_a_network_that_trained_it_along(
    tsn: Any, finetune: Any, stages: Any, dataset: Any
) -> None:
    """Relational LSTM's flow network starts from TSN's (sec. 5.2)."""
    trained = tsn(seed=7).as_input("weights")
    before = checkpoint.load(trained.path / "model.pt")["convnet.backbone.network.3.weight"]
    tuned = checkpoint.load(finetune(trained).output / "model.pt")
    torch.testing.assert_close(tuned["backbone.network.3.weight"], before)
    again = checkpoint.load(tsn(trained, seed=3).output / "model.pt")
    torch.testing.assert_close(again["convnet.backbone.network.3.weight"], before)
    assert not torch.equal(
        again["convnet.classifier.weight"], checkpoint.load(trained.path / "model.pt")["convnet.classifier.weight"]
    )


MAPS = {"rgb": (6, 4, 3), "flow": (5, 4, 3)}
SIZES = {"hidden": 4, "fc_dim": 7}


def test_a_video_lstm_is_assembled_from_trained_parts() -> None:
    """As VideoLSTM's released code assembles it; what joins the layers stays."""
    network = models.build("video_lstm", num_classes=3, feature_shape=MAPS, attention_dim=4, **SIZES)
    motion = models.build("conv_lstm", num_classes=9, feature_shape=MAPS["flow"], initial_state="learned", **SIZES)
    look = models.build("conv_alstm", num_classes=3, feature_shape=MAPS["rgb"], attention_dim=4, **SIZES)
    before = network.state_dict()["top_weight"].clone()
    assert load_network(network, motion.state_dict(), "motion") == ()
    assert load_network(network, look.state_dict(), "appearance") == ()
    after = network.state_dict()
    for name, value in motion.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(after[f"motion_{name}"], value)
    for name, value in look.state_dict().items():
        assert torch.equal(after[name], value)
    assert torch.equal(after["top_weight"], before)


def test_weights_of_another_network_are_refused() -> None:
    network = models.build("video_lstm", num_classes=3, feature_shape=MAPS, attention_dim=4, **SIZES)
    other = models.build("lstm", num_classes=3, feature_shape=(5,))
    with pytest.raises(UserError, match=r"^model\.weights: stage x: weights of another network: .* is unknown; "):
        load_network(network, other.state_dict(), source="stage x")
    with pytest.raises(UserError, match="nothing of it fits"):
        load_network(network, {"other.weight": torch.zeros(1)}, "motion")
    whole = {name: value.to(torch.int64) for name, value in network.state_dict().items()}
    with pytest.raises(UserError, match=r"has type torch\.int64, expected torch\.float32"):
        load_network(network, whole)
    wide = models.build("conv_lstm", num_classes=3, feature_shape=(9, 4, 3), **SIZES)
    with pytest.raises(UserError, match=r"motion_gates\.input_weight has shape"):
        load_network(network, wide.state_dict(), "motion")
