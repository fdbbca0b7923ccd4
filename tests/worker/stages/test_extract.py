"""Features of real clips."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from models import backbones
from models.backbones.format import NORMALIZATIONS
from services.errors import UserError
from services.params import BackboneParams
from worker.stages import extract
from worker.stages.backbone import build_backbone
from worker.video.input.dataset import ClipDataset, RgbSource
from worker.video.input.transforms import TestTransform


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
    look = TestTransform(backbone.format)
    clips = ClipDataset(dataset[0].clips[-1:], RgbSource(dataset[0].root), look, frames=5, stack=1)
    with torch.inference_mode():
        expected = backbone(clips.finish(clips[0])).numpy()
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


def test_maps_are_half_precision_and_made_part_by_part(stages: Any, dataset: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(extract, "PART_BYTES", 3 * 5 * 64 * 4 * 4 * 2)
    finished = stages.run("extract", params(feature="conv4"), dataset[1:])
    features = np.load(finished.output / "features.npy")
    assert (features.shape, features.dtype) == ((40, 64, 4, 4), np.float16)
    assert finished.summary == {"clips": 8, "steps": 40, "shape": [64, 4, 4]}
    parts = sorted(finished.task.state.glob("features-*.npy"))
    assert [len(np.load(part)) for part in parts] == [15, 15, 10]
    assert [part.name for part in parts] == [f"features-{first:07d}.npy" for first in (0, 3, 6)]


def test_every_frame_of_a_clip_has_features_whatever_the_blocks(
    stages: Any, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stages.run("extract", params(frames=None), dataset[1:])
    assert whole.summary["steps"] == 80
    lengths = json.loads((whole.output / "clips.json").read_text())["lengths"]
    assert lengths == [10] * 8
    monkeypatch.setattr("worker.video.input.dataset.BLOCK_FRAMES", 4)
    blocks = stages.run("extract", params(frames=None), dataset[1:])
    one, other = (np.load(run.output / "features.npy") for run in (whole, blocks))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_no_more_than_the_beginning_of_a_clip_is_looked_at(stages: Any, dataset: Any) -> None:
    finished = stages.run("extract", params(frames=None, first_seconds=0.16), dataset[1:])
    assert finished.summary["steps"] == 8 * 4  # 25 frames a second


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_the_input_may_be_normalised_as_released_code_does(stages: Any, dataset: Any, stream: str) -> None:
    tiny = {"name": "tiny", "normalization": "tsn"}
    plain, other = (
        stages.run("extract", params(stream, **changes), dataset[1:]) for changes in ({}, {"backbone": tiny})
    )
    features = [np.load(run.output / "features.npy") for run in (plain, other)]
    assert features[1].std() > 3 * features[0].std()  # levels of 255 instead of deviations of some 60


@pytest.mark.parametrize(("channels", "name", "turned"), [(3, "video_lstm", 3), (3, "ts_lstm", 1), (4, "ts_lstm", 2)])
def test_weights_of_released_code_see_the_channels_that_it_showed_them(channels: int, name: str, turned: int) -> None:
    given = BackboneParams.model_validate({"name": "tiny", "normalization": name})
    backbone = build_backbone(given, "rgb" if channels == 3 else "flow", channels // 2)
    assert (backbone.turned, backbone.format) == (turned, NORMALIZATIONS[name].of(64, channels))


def test_a_feature_that_the_backbone_lacks_is_refused(stages: Any, dataset: Any) -> None:
    with pytest.raises(UserError, match=r"backbone\.feature: got fc7, allowed: pool, conv4 of tiny"):
        stages.run("extract", params(feature="fc7"), dataset[1:])


def test_a_map_that_half_precision_cannot_hold_is_refused(
    stages: Any, dataset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.backbones.base.Backbone.features", lambda *_: torch.full((5, 2, 3, 3), 7e4))
    with pytest.raises(UserError, match=r"backbone\.feature: conv4 has values up to 70000, allowed: finite ones"):
        stages.run("extract", params(feature="conv4"), dataset[1:])
