"""A ConvNet learns from real clips, stops and goes on, and says what is wrong with its weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from models import ConvNet, backbones
from services.errors import DataError, UserError
from worker.training import checkpoint
from worker.training.interrupt import Interrupted, interrupt

AUGMENTATION = {"min_area": 0.5, "flip": 0.5, "jitter": 0.1}


def params(stream: str = "rgb", **changes: Any) -> dict[str, Any]:
    training = {"epochs": 3, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
    return {
        "split": 1, "stream": stream, "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 2 * (stream == "flow"),
        "samples_per_clip": 2, "dropout": 0.1, "augmentation": AUGMENTATION, "training": training, **changes,
    }  # fmt: skip


@pytest.fixture
def finetune(stages: Any, dataset: Any) -> Any:
    def run(stream: str = "rgb", name: str = "", **changes: Any) -> Any:
        inputs = (dataset[1],) if stream == "rgb" else dataset[1:]
        return stages.run("finetune", params(stream, **changes), inputs, name)

    return run


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 4)])
def test_the_model_is_a_convnet_of_its_stream(finetune: Any, stream: str, channels: int) -> None:
    finished = finetune(stream)
    network = ConvNet(backbone=backbones.build("tiny", channels=channels), num_classes=2)
    network.load_state_dict(checkpoint.load(finished.output / "model.pt"))
    history = json.loads((finished.output / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert finished.summary == {
        "epochs": 3,
        "selection": "last",
        "selected_epoch": 3,
        "train_loss": history[-1]["train_loss"],
        "train_accuracy": history[-1]["train_accuracy"],
        "train_clips": 4,
        "data_wait_ratio": pytest.approx(0.5, abs=0.5),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    assert len(finished.events("metrics")) == 3


def test_dark_and_light_are_learned(finetune: Any) -> None:
    training = {"epochs": 12, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
    assert finetune(augmentation=None, training=training).summary["train_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        ("rgb", {"min_area": 0.1}),
        ("rgb", {"flip": 0.0}),
        ("rgb", {"jitter": 0.0}),
        ("flow", {"invert_flow_on_flip": False}),
    ],
)
def test_every_option_of_the_augmentation_counts(finetune: Any, stream: str, change: dict[str, Any]) -> None:
    training = {"epochs": 1, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
    given = {**AUGMENTATION, "flip": 1.0}
    one, other = (
        checkpoint.load(finetune(stream, training=training, augmentation=options).output / "model.pt")
        for options in (given, given | change)
    )
    assert not torch.equal(one["backbone.network.0.weight"], other["backbone.network.0.weight"])


@pytest.mark.parametrize(
    ("stream", "selection"),
    [
        ("rgb", "validation"),
        ("flow", "test"),
        pytest.param("flow", "validation", marks=pytest.mark.long),
        pytest.param("rgb", "test", marks=pytest.mark.long),
    ],
)
def test_the_best_epoch_on_clips_that_are_held_out_is_kept(finetune: Any, stream: str, selection: str) -> None:
    training = {"epochs": 4, "batch_size": 4, "optimizer": {"learning_rate": 0.01}, "selection": selection}
    finished = finetune(stream, training={**training, "validation_share": 0.5})
    history = json.loads((finished.output / "history.json").read_text())
    curve = [row[f"{selection}_accuracy"] for row in history]
    assert [event["values"][f"{selection}_accuracy"] for event in finished.events("metrics")] == curve
    assert all(0 < row[f"{selection}_loss"] < 100 for row in history)
    summary = finished.summary
    assert summary["selected_epoch"] == curve.index(max(curve)) + 1
    assert (summary[f"{selection}_accuracy"], summary[f"last_{selection}_accuracy"]) == (max(curve), curve[-1])
    held_out = {"validation": (2, 2, "groups"), "test": (4, 4, None)}[selection]
    assert (summary["train_clips"], summary[f"{selection}_clips"], summary.get("validation_by")) == held_out


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_stopped_run_goes_on_to_the_same_weights(finetune: Any, stream: str) -> None:
    undisturbed = finetune(stream)
    for _ in range(2):
        interrupt.request()
        with pytest.raises(Interrupted):
            finetune(stream, name="stopped")
    interrupt.clear()
    resumed = finetune(stream, name="stopped")
    assert (resumed.output / "model.pt").read_bytes() == (undisturbed.output / "model.pt").read_bytes()


def test_first_weights_come_from_a_local_file(finetune: Any, tmp_path: Path) -> None:
    state = backbones.build("tiny").network.state_dict()
    torch.save(state, tmp_path / "tiny.pt")
    frozen = {"epochs": 1, "batch_size": 8, "optimizer": {"name": "sgd", "learning_rate": 1e-9}}
    finished = finetune(backbone={"name": "tiny", "weights": str(tmp_path / "tiny.pt")}, training=frozen)
    trained = checkpoint.load(finished.output / "model.pt")
    torch.testing.assert_close(trained["backbone.network.0.weight"], state["0.weight"])


def test_weights_of_another_architecture_name_keys(finetune: Any, tmp_path: Path) -> None:
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pt")
    with pytest.raises(UserError, match=r"resnet18\.pt: weights of another architecture: 0\.weight is missing"):
        finetune(backbone={"name": "tiny", "weights": str(tmp_path / "resnet18.pt")})


def test_weights_that_are_missing_broken_or_no_state_dict_name_the_file(finetune: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"path": tmp_path}, tmp_path / "code.pt")
    for name in ("missing.pt", "broken.pt", "list.pt", "code.pt"):
        with pytest.raises(UserError, match=rf"^backbone\.weights: .*{name}"):
            finetune(backbone={"name": "tiny", "weights": str(tmp_path / name)})


def test_imagenet_weights_that_do_not_exist_are_refused(finetune: Any) -> None:
    with pytest.raises(UserError, match="got 'imagenet' for 'tiny'"):
        finetune(backbone={"name": "tiny", "weights": "imagenet"})


def test_a_split_that_the_dataset_lacks(finetune: Any) -> None:
    with pytest.raises(UserError, match=r"splits: got 3, allowed: \[1, 2\] of dataset shades"):
        finetune(split=3)


def test_a_clip_without_flow_is_named(stages: Any, dataset: Any, tmp_path: Path) -> None:
    empty = dataset[2].model_copy(update={"path": tmp_path})
    with pytest.raises(DataError, match="no flow of clip"):
        stages.run("finetune", params("flow"), (dataset[1], empty))
