"""What the test protocol sees of a clip: runs of features, or views of frames, whose scores are averaged."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models import backbones
from worker.stages import score, train
from worker.stages.scores import read_scores
from worker.training import checkpoint
from worker.video.input.crops import MultiScale, TestCrops
from worker.video.input.dataset import FlowSource, RgbSource
from worker.video.input.snippets import ViewDataset
from worker.video.survey.manifest import Clip

TRAINING = {"epochs": 1, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
TSN = {"kind": "tsn", "segments": 2}
Finished = Any


@pytest.fixture
def learn(stages: Any) -> Any:
    """Train and score a network."""

    def run(model: dict[str, Any], stream: str, inputs: Any, views: Any, **changes: Any) -> tuple[Finished, Finished]:
        common = {"split": 1, "streams": [stream], "seed": 2, "model": model}
        end_to_end = {name: value for name, value in changes.items() if name == "end_to_end"}
        trained = stages.run("train", {**common, "training": TRAINING, **changes}, inputs)
        scoring = {**common, "average": "probabilities", "views": views, **end_to_end}
        return trained, stages.run("score", scoring, (*inputs, trained.as_input("train")))

    return run


def end_to_end(stream: str, **changes: Any) -> dict[str, Any]:
    common = {"backbone": {"name": "tiny"}, "feature": "pool", "flow_stack": 2, "snippets": 2, "augmentation": True}
    return {"stream": stream, **common, **changes}


@torch.no_grad()
def assert_averaged(network: nn.Module, views: Sequence[Tensor], found: np.ndarray) -> None:
    """Scores are the mean of the views' probabilities, which differ."""
    each = torch.cat([network.eval()(view).logits.softmax(-1) for view in views]).numpy()
    np.testing.assert_allclose(found, each.mean(0), rtol=3e-6)
    assert np.ptp(each, axis=0).max() > 3e-5


def test_runs_of_features_are_averaged(stages: Any, dataset: Any, learn: Any) -> None:
    params = {"stream": "rgb", "backbone": {"name": "tiny"}, "feature": "pool", "frames": None, "flow_stack": 0}
    rgb = stages.run("extract", {**params, "seed": 4}, dataset[1:]).as_input("rgb")
    views = {"frames": 3, "snippet": 4}
    trained, scored = learn({"kind": "lstm", "hidden": [4]}, "rgb", (dataset[1], rgb), views, snippet=4)
    network = models.build("lstm", num_classes=2, feature_shape=(64,), hidden=(4,))
    network.load_state_dict(checkpoint.load(trained.output / "model.pt"))
    features = torch.from_numpy(np.load(rgb.path / "features.npy")).view(8, 1, 10, 64)
    names = [clip.id for clip in dataset[0].clips]
    found = read_scores(scored.output)
    for name, values in zip(found.clips, found.values, strict=True):
        own = features[names.index(name)]
        assert_averaged(network, [own[:, first : first + 4] for first in (1, 3, 5)], values)


@pytest.mark.parametrize("at_once", [512, 6, 1])
def test_views_of_frames_are_averaged(dataset: Any, learn: Any, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score, "MAX_FRAMES", at_once)
    views = {"frames": 2, "positions": 2, "crops": "five"}
    trained, scored = learn(TSN, "rgb", dataset[1:], views, end_to_end=end_to_end("rgb"))
    backbone = backbones.build("tiny").cut("pool")
    network = models.build("tsn", num_classes=2, feature_shape=(64,), segments=2, backbone=backbone)
    network.load_state_dict(checkpoint.load(trained.output / "model.pt"))
    crops = TestCrops("five", backbone.format, flow=False)
    found = read_scores(scored.output)
    clips = [dataset[0].by_id[name] for name in found.clips]
    seen = ViewDataset(clips, RgbSource(dataset[0].root), crops, frames=2, positions=2, stack=2)
    for row, values in enumerate(found.values):
        assert_averaged(network, seen.finish(seen[row]).split(1), values)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_crops_and_mirror_images_are_those_of_the_stream(
    dataset: Any, learn: Any, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    class Training(MultiScale):
        def __init__(self, *look: Any, flow: bool) -> None:
            super().__init__(*look, flow=flow)
            told.append(flow)

    class Test(TestCrops):
        def __init__(self, *look: Any, flow: bool) -> None:
            super().__init__(*look, flow=flow)
            told.append(flow)

    monkeypatch.setattr(train, "MultiScale", Training)
    monkeypatch.setattr(score, "TestCrops", Test)
    learn(TSN, stream, dataset[1:], {"frames": 2, "crops": "ten"}, end_to_end=end_to_end(stream))
    assert told == [stream == "flow"] * 2


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_training_and_test_look_no_further_than_the_first_seconds(
    dataset: Any, learn: Any, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = RgbSource if stream == "rgb" else FlowSource
    read, seen = source.read, []

    def noting(self: Any, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        seen.append((max(frames), visible))
        found: Tensor = read(self, clip, frames, visible)
        return found

    monkeypatch.setattr(source, "read", noting)
    learn(TSN, stream, dataset[1:], {"frames": 2}, end_to_end=end_to_end(stream, first_seconds=3 / 25))
    assert len(seen) == 4 + 4  # clips trained on and tested
    assert all(last < visible == 3 for last, visible in seen)
