"""Networks on maps, on both streams apart, on snippets, and end to end: trained and scored by the real stages."""

from typing import Any

import numpy as np
import pytest
import torch

import models
from models import backbones
from services.errors import UserError
from services.params import Frames
from services.scores.files import read_scores
from services.specs import RelationalLSTM
from tests.worker.stages.conftest import TRAINING, frames
from worker.stages.networks import build_end_to_end
from worker.training import checkpoint
from worker.training.interrupt import Interrupted, interrupt

SMALL = {"hidden": 4, "fc_dim": 4}
VIDEO_LSTM = {"kind": "video_lstm", "attention_dim": 4, **SMALL}
THREE = {"snippets": 3, "augmentation": True}
TSN = {"split": 1, "seed": 2, "model": {"kind": "tsn"}, "training": TRAINING}


def weights(finished: Any) -> Any:
    return (finished.output / "model.pt").read_bytes()


@pytest.mark.parametrize(
    ("model", "streams", "shape"),
    [
        ({"kind": "conv_lstm", **SMALL}, ["rgb", "flow"], (128, 4, 4)),
        ({"kind": "relational_lstm", "hidden": 4, "segments": 3}, ["rgb"], (64, 4, 4)),
        (VIDEO_LSTM, ["rgb", "flow"], {"rgb": (64, 4, 4), "flow": (64, 4, 4)}),
    ],
)
def test_networks_on_maps(extracted: Any, learn: Any, model: Any, streams: list[str], shape: Any) -> None:
    trained, scored = learn(model, *(extracted(stream) for stream in streams))
    options = {name: value for name, value in model.items() if name != "kind"}
    network = models.build(model["kind"], num_classes=2, feature_shape=shape, **options)
    network.load_state_dict(checkpoint.load(trained.output / "model.pt"))
    np.testing.assert_allclose(read_scores(scored.output).values.sum(1), 1)


@pytest.mark.parametrize(
    ("model", "own", "trained_on", "views"),
    [
        ({"kind": "tsn"}, {}, THREE, {"frames": 4, "crops": "ten"}),
        ({"kind": "tsn", "partial_batch_norm": False}, {"stream": "flow"}, THREE, {"frames": 3, "crops": "five"}),
        ({"kind": "memory", "hidden": 4, "controller": 4}, {}, THREE, {"frames": 4, "crops": "stretch"}),
        (
            {"kind": "tsn", "partial_batch_norm": False},
            {"backbone": {"name": "timm:test_resnet"}},
            THREE,
            {"frames": 3},
        ),
        (
            {"kind": "relational_lstm", "hidden": 4, "segments": 3},
            {"feature": "conv4"},
            {"snippets": 3, "augmentation": False},
            {"frames": 3, "positions": 2},
        ),
    ],
)
def test_backbone_and_network_are_trained_as_one(
    dataset: Any, learn: Any, model: Any, own: Any, trained_on: Any, views: Any
) -> None:
    look = frames(**own)
    trained, scored = learn(model, dataset[2], seen={**look, **trained_on}, viewed={**look, **views})
    np.testing.assert_allclose(read_scores(scored.output).values.sum(1), 1)
    torch.manual_seed(2)
    first = backbones.build(look["backbone"]["name"], channels=3 if look["stream"] == "rgb" else 4)
    before = first.cut(look["feature"]).state_dict()
    after = torch.load(trained.output / "model.pt", weights_only=True)
    kept = {name.partition("backbone.")[2]: value for name, value in after.items() if "backbone." in name}
    assert kept.keys() == before.keys()
    assert all(not torch.equal(kept[name], value) for name, value in before.items() if value.ndim == 4)
    assert "train_top1" not in scored.summary


def test_a_stopped_end_to_end_run_goes_on_to_the_same_weights(stages: Any, dataset: Any) -> None:
    params = {**TSN, "streams": ["rgb"], "input": frames(**THREE)}
    undisturbed = stages.run("train", params, dataset[1:])
    interrupt.request()
    with pytest.raises(Interrupted):
        stages.run("train", params, dataset[1:], "stopped")
    interrupt.clear()
    resumed = stages.run("train", params, dataset[1:], "stopped")
    assert weights(resumed) == weights(undisturbed)


FROZEN = {**TRAINING, "epochs": 1, "optimizer": {"learning_rate": 1e-12}}


def test_end_to_end_training_starts_from_the_finetuned_backbone(stages: Any, dataset: Any) -> None:
    finetune = {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0, "augmentation": None, "training": {"epochs": 1, "batch_size": 4},
    }  # fmt: skip
    tuned = stages.run("finetune", finetune, dataset[1:])
    params = {**TSN, "streams": ["rgb"], "training": FROZEN, "input": frames(**THREE)}
    trained = stages.run("train", params, (*dataset[1:], tuned.as_input("finetune")))
    before, after = (torch.load(run.output / "model.pt", weights_only=True) for run in (tuned, trained))
    name = "network.4.weight"
    torch.testing.assert_close(after[f"convnet.backbone.{name}"], before[f"backbone.{name}"])


def test_a_flow_network_starts_from_the_trained_rgb_one(stages: Any, dataset: Any) -> None:
    params = {**TSN, "training": FROZEN}
    rgb = stages.run("train", {**params, "streams": ["rgb"], "input": frames(**THREE)}, dataset[1:])
    own = {"seed": 3, "streams": ["flow"], "input": frames("flow", **THREE)}
    flow = stages.run("train", {**params, **own}, (*dataset[1:], rgb.as_input("train")))
    before, after = (torch.load(run.output / "model.pt", weights_only=True) for run in (rgb, flow))
    torch.testing.assert_close(after["convnet.classifier.weight"], before["convnet.classifier.weight"])
    first = "convnet.backbone.network.0.weight"
    torch.testing.assert_close(after[first], before[first].mean(1, keepdim=True).repeat(1, 4, 1, 1))


def test_a_local_branch_starts_from_what_the_backbone_is_cut_off() -> None:
    look = Frames.model_validate(frames(feature="conv5_2", backbone={"name": "resnet101_v2"}))
    torch.manual_seed(5)
    backbone = backbones.build("resnet101_v2")
    unit = backbone.network.state_dict()["stages.3.blocks.2.conv2.weight"]
    network = build_end_to_end(RelationalLSTM(branches="local"), 2, backbone, look)
    torch.testing.assert_close(network.local.unit.state_dict()["conv2.weight"], unit)
    assert not any(name.startswith("stages.3.blocks.2.") for name in backbone.network.state_dict())


def test_a_clip_of_too_few_steps_is_refused(extracted: Any, learn: Any) -> None:
    with pytest.raises(UserError, match=r"model\.segments: got 6, allowed: 1 to the 5 frames"):
        learn({"kind": "tsn", "segments": 6}, extracted("rgb", feature="pool"))


def test_features_of_another_form_are_refused(extracted: Any, learn: Any) -> None:
    with pytest.raises(UserError, match=r"model: feature_shape: got \(64,\)"):
        learn({"kind": "conv_lstm", **SMALL}, extracted("rgb", feature="pool"))
