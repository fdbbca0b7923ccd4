"""Networks on maps, on both streams apart, on snippets, and end to end: trained and scored by the real stages."""

from typing import Any

import numpy as np
import pytest
import torch

import models
from models import backbones
from services.errors import UserError
from services.specs import RelationalLSTM
from services.stages import EndToEndParams
from worker.stages import train
from worker.stages.networks import build_end_to_end
from worker.stages.scores import read_scores
from worker.training import checkpoint
from worker.training.interrupt import Interrupted, interrupt

TRAINING = {"epochs": 2, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
SMALL = {"hidden": 4, "fc_dim": 4}
VIDEO_LSTM = {"kind": "video_lstm", "attention_dim": 4, **SMALL}


def extracted(stages: Any, dataset: Any, stream: str, **changes: Any) -> Any:
    stack = 2 * (stream == "flow")
    common = {"backbone": {"name": "tiny"}, "feature": "conv4", "frames": 5, "flow_stack": stack, "seed": 4}
    return stages.run("extract", {"stream": stream, **common, **changes}, dataset[1:]).as_input(stream)


@pytest.fixture
def learn(stages: Any, dataset: Any) -> Any:
    """Train and score a network on features of some streams."""

    def run(model: dict[str, Any], *inputs: Any, views: Any = None, name: str = "", **changes: Any) -> Any:
        streams = [entry.name for entry in inputs if entry.name in ("rgb", "flow")]
        common = {"split": 1, "streams": streams, "seed": 2, "model": model}
        given = (dataset[1], *inputs)
        end_to_end = changes.get("end_to_end")
        trained = stages.run("train", {**common, "training": TRAINING, **changes}, given, name)
        scoring = {**common, "average": "probabilities", "views": views, "end_to_end": end_to_end}
        return trained, stages.run("score", scoring, (*given, trained.as_input("train")))

    return run


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
def test_networks_on_maps(stages: Any, dataset: Any, learn: Any, model: Any, streams: list[str], shape: Any) -> None:
    inputs = [extracted(stages, dataset, stream) for stream in streams]
    trained, scored = learn(model, *inputs)
    options = {name: value for name, value in model.items() if name != "kind"}
    network = models.build(model["kind"], num_classes=2, feature_shape=shape, **options)
    network.load_state_dict(checkpoint.load(trained.output / "model.pt"))
    np.testing.assert_allclose(read_scores(scored.output).values.sum(1), 1)


def test_features_read_batch_by_batch_train_the_same_weights(
    stages: Any, dataset: Any, learn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [extracted(stages, dataset, stream) for stream in ("rgb", "flow")]
    in_memory, _ = learn(VIDEO_LSTM, *inputs)
    monkeypatch.setattr(train, "IN_MEMORY_BYTES", 0)
    from_disk, _ = learn(VIDEO_LSTM, *inputs)
    assert weights(from_disk) == weights(in_memory)


def test_a_network_sees_snippets_of_every_frame(stages: Any, dataset: Any, learn: Any) -> None:
    rgb = extracted(stages, dataset, "rgb", frames=None)
    model = {"kind": "alstm", "attention_dim": 4, **SMALL}
    views = {"frames": 3, "snippet": 4}
    undisturbed, scored = learn(model, rgb, views=views, snippet=4)
    assert read_scores(scored.output).values.shape == (4, 2)
    assert "train_top1" not in scored.summary
    interrupt.request()
    with pytest.raises(Interrupted):
        learn(model, rgb, views=views, snippet=4, name="stopped")
    interrupt.clear()
    resumed, _ = learn(model, rgb, views=views, snippet=4, name="stopped")
    assert weights(resumed) == weights(undisturbed)


def test_scores_of_snippets_are_averaged(stages: Any, dataset: Any, learn: Any) -> None:
    """Three snippets of ten frames are the same ten frames: their mean is the score of one."""
    rgb = extracted(stages, dataset, "rgb", frames=None)
    model = {"kind": "conv_lstm", **SMALL}
    _, one = learn(model, rgb, snippet=10, views={"frames": 1, "snippet": 10})
    _, three = learn(model, rgb, snippet=10, views={"frames": 3, "snippet": 10})
    np.testing.assert_allclose(read_scores(one.output).values, read_scores(three.output).values, rtol=1e-5)


def end_to_end(stream: str = "rgb", feature: str = "pool", **changes: Any) -> dict[str, Any]:
    common = {"backbone": {"name": "tiny"}, "feature": feature, "flow_stack": 2, "snippets": 3, "augmentation": True}
    return {"stream": stream, **common, **changes}


@pytest.mark.parametrize(
    ("model", "params", "views"),
    [
        ({"kind": "tsn"}, end_to_end(), {"frames": 4, "crops": "ten"}),
        ({"kind": "tsn", "partial_batch_norm": False}, end_to_end("flow"), {"frames": 3, "crops": "five"}),
        ({"kind": "memory", "hidden": 4, "controller": 4}, end_to_end(), {"frames": 4, "crops": "stretch"}),
        (
            {"kind": "tsn", "partial_batch_norm": False},
            end_to_end(backbone={"name": "timm:test_resnet"}),
            {"frames": 3},
        ),
        (
            {"kind": "relational_lstm", "hidden": 4, "segments": 3},
            end_to_end(feature="conv4", augmentation=False),
            {"frames": 3, "positions": 2},
        ),
    ],
)
def test_backbone_and_network_are_trained_as_one(
    stages: Any, dataset: Any, model: dict[str, Any], params: dict[str, Any], views: dict[str, Any]
) -> None:
    stream = params["stream"]
    common = {"split": 1, "streams": [stream], "seed": 2, "model": model, "end_to_end": params}
    trained = stages.run("train", {**common, "training": TRAINING}, dataset[1:])
    scoring = {**common, "average": "probabilities", "views": views}
    scored = stages.run("score", scoring, (*dataset[1:], trained.as_input("train")))
    np.testing.assert_allclose(read_scores(scored.output).values.sum(1), 1)
    torch.manual_seed(2)
    first = backbones.build(params["backbone"]["name"], channels=3 if stream == "rgb" else 4)
    before = first.cut(params["feature"]).state_dict()
    after = torch.load(trained.output / "model.pt", weights_only=True)
    kept = {name.partition("backbone.")[2]: value for name, value in after.items() if "backbone." in name}
    assert kept.keys() == before.keys()
    assert all(not torch.equal(kept[name], value) for name, value in before.items() if value.ndim == 4)
    assert "train_top1" not in scored.summary


def test_a_stopped_end_to_end_run_goes_on_to_the_same_weights(stages: Any, dataset: Any) -> None:
    params = {"split": 1, "streams": ["rgb"], "seed": 2, "model": {"kind": "tsn"}, "end_to_end": end_to_end()}
    params["training"] = TRAINING
    undisturbed = stages.run("train", params, dataset[1:])
    interrupt.request()
    with pytest.raises(Interrupted):
        stages.run("train", params, dataset[1:], "stopped")
    interrupt.clear()
    resumed = stages.run("train", params, dataset[1:], "stopped")
    assert weights(resumed) == weights(undisturbed)


def test_end_to_end_training_starts_from_the_finetuned_backbone(stages: Any, dataset: Any) -> None:
    finetune = {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0, "augmentation": None, "training": {"epochs": 1, "batch_size": 4},
    }  # fmt: skip
    tuned = stages.run("finetune", finetune, dataset[1:])
    frozen = {**TRAINING, "epochs": 1, "optimizer": {"learning_rate": 1e-12}}
    params = {"split": 1, "streams": ["rgb"], "seed": 2, "model": {"kind": "tsn"}, "end_to_end": end_to_end()}
    trained = stages.run("train", {**params, "training": frozen}, (*dataset[1:], tuned.as_input("finetune")))
    before, after = (torch.load(run.output / "model.pt", weights_only=True) for run in (tuned, trained))
    name = "network.4.weight"
    torch.testing.assert_close(after[f"convnet.backbone.{name}"], before[f"backbone.{name}"])


def test_a_flow_network_starts_from_the_trained_rgb_one(stages: Any, dataset: Any) -> None:
    frozen = {**TRAINING, "epochs": 1, "optimizer": {"learning_rate": 1e-12}}
    params = {"split": 1, "seed": 2, "model": {"kind": "tsn"}, "training": frozen}
    rgb = stages.run("train", {**params, "streams": ["rgb"], "end_to_end": end_to_end()}, dataset[1:])
    inputs = (*dataset[1:], rgb.as_input("train"))
    flow = stages.run("train", {**params, "seed": 3, "streams": ["flow"], "end_to_end": end_to_end("flow")}, inputs)
    before, after = (torch.load(run.output / "model.pt", weights_only=True) for run in (rgb, flow))
    torch.testing.assert_close(after["convnet.classifier.weight"], before["convnet.classifier.weight"])
    first = "convnet.backbone.network.0.weight"
    torch.testing.assert_close(after[first], before[first].mean(1, keepdim=True).repeat(1, 4, 1, 1))


def test_a_local_branch_starts_from_what_the_backbone_is_cut_off(stages: Any, dataset: Any) -> None:
    params = end_to_end(feature="conv5_2", backbone={"name": "resnet101_v2"})
    spec = RelationalLSTM(branches="local")
    task = stages.task("train", {"split": 1, "streams": ["rgb"], "seed": 2, "model": spec, "training": TRAINING}, ())
    torch.manual_seed(5)
    unit = backbones.build("resnet101_v2").network.state_dict()["stages.3.blocks.2.conv2.weight"]
    torch.manual_seed(5)
    built = build_end_to_end(task, EndToEndParams.model_validate(params), spec, 2)
    torch.testing.assert_close(built.network.local.unit.state_dict()["conv2.weight"], unit)
    assert not any(name.startswith("stages.3.blocks.2.") for name in built.backbone.network.state_dict())


def test_a_clip_of_too_few_steps_is_refused(stages: Any, dataset: Any, learn: Any) -> None:
    with pytest.raises(UserError, match=r"model\.segments: got 6, allowed: 1 to the 5 frames"):
        learn({"kind": "tsn", "segments": 6}, extracted(stages, dataset, "rgb", feature="pool"))


def test_features_of_another_form_are_refused(stages: Any, dataset: Any, learn: Any) -> None:
    with pytest.raises(UserError, match=r"model: feature_shape: got \(64,\)"):
        learn({"kind": "conv_lstm", **SMALL}, extracted(stages, dataset, "rgb", feature="pool"))
