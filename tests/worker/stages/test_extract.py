"""Features of real clips."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from models import backbones
from worker.stages import extract
from worker.video.dataset import ClipDataset, RgbSource
from worker.video.transforms import TestTransform


def params(stream: str = "rgb", **changes: Any) -> dict[str, Any]:
    stack = 2 * (stream == "flow")
    common = {"backbone": {"name": "tiny"}, "feature": "pool", "frames": 5, "seed": 4}
    return {"stream": stream, "flow_stack": stack, **common, **changes}


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_every_clip_of_the_manifest_has_features(stages: Any, dataset: Any, stream: str) -> None:
    finished = stages.run("extract", params(stream), dataset[1:])
    features = np.load(finished.output / "features.npy")
    assert features.shape == (8 * 5, 64)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    clips = json.loads((finished.output / "clips.json").read_text())
    known = dataset[0].clips
    assert clips == {"ids": [c.id for c in known], "labels": [c.label for c in known], "lengths": [5] * 8}
    assert finished.summary == {"clips": 8, "steps": 40, "shape": [64]}
    assert finished.events("progress")[-1] == {"done": 8, "total": 8, "unit": "clips", "message": ""}


def test_features_are_the_finetuned_backbones(stages: Any, dataset: Any) -> None:
    finetune = {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0, "augmentation": None, "training": {"epochs": 1, "batch_size": 4},
    }  # fmt: skip
    trained = stages.run("finetune", finetune, dataset[1:])
    finished = stages.run("extract", params(seed=None), (*dataset[1:], trained.as_input("finetune")))
    backbone = backbones.build("tiny").eval()
    state = torch.load(trained.output / "model.pt", weights_only=True)
    prefix = "backbone."
    backbone.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    clips = ClipDataset(
        dataset[0].clips[-1:], RgbSource(dataset[0].root), TestTransform(64, backbone.mean, backbone.std),
        frames=5, stack=1,
    )  # fmt: skip
    with torch.inference_mode():
        expected = backbone(clips[0]).numpy()
    np.testing.assert_array_equal(np.load(finished.output / "features.npy")[-5:], expected)


def test_the_seed_decides_untrained_weights(stages: Any, dataset: Any) -> None:
    runs = [stages.run("extract", params(seed=seed), dataset[1:]).output / "features.npy" for seed in (4, 4, 5)]
    one, same, other = (path.read_bytes() for path in runs)
    assert one == same
    assert one != other


def test_a_later_attempt_keeps_finished_parts(stages: Any, dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "MAX_BLOCKS_PER_PART", 3)
    undisturbed = stages.run("extract", params(), dataset[1:])
    again = stages.task("extract", params(), dataset[1:], name="again")
    marked = np.full((15, 64), 7, dtype=np.float32)
    np.save(again.state / "features-0000003.npy", marked)
    finished = stages.run("extract", params(), dataset[1:], name="again")
    features, expected = (np.load(run.output / "features.npy") for run in (finished, undisturbed))
    np.testing.assert_array_equal(features[15:30], marked)
    np.testing.assert_array_equal(features[:15], expected[:15])
    np.testing.assert_array_equal(features[30:], expected[30:])
