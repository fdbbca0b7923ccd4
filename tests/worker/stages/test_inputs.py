"""What a network sees of clips: spaced features, snippets or frames; samples of training, views of the test."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models import backbones
from services.scores.files import read_scores
from services.stages import ScoreParams, TrainParams
from tests.worker.stages.conftest import SPACED, TRAINING, frames
from worker.contract import Reporter
from worker.stages import inputs
from worker.stages.inputs import open_input
from worker.training import checkpoint
from worker.training.batches import FeatureSource, TensorSource
from worker.training.distributed import World
from worker.training.interrupt import Interrupted, interrupt
from worker.video.input.crops import MultiScale, TestCrops
from worker.video.input.dataset import FlowSource, RgbSource
from worker.video.input.snippets import ViewDataset
from worker.video.survey.manifest import Clip

LSTM, TSN = {"kind": "lstm", "hidden": [4]}, {"kind": "tsn", "segments": 2}
VIDEO_LSTM = {"kind": "video_lstm", "attention_dim": 4, "hidden": 4, "fc_dim": 4}
ALSTM = {"kind": "alstm", "attention_dim": 4, "hidden": 4, "fc_dim": 4}
VECTORS, EVERY_VECTOR = {"feature": "pool"}, {"feature": "pool", "frames": None}
SNIPPETS = {"kind": "snippets", "length": 4}
THREE_SNIPPETS = {**SNIPPETS, "count": 3}


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Reporter]:
    report = Reporter(tmp_path / "events")
    yield report
    report.close()


@pytest.fixture
def opened(stages: Any, dataset: Any, extracted: Any, report: Reporter) -> Any:
    """A function that opens what a network sees of all clips, and returns it with the stage's parameters."""

    def run(params: type[TrainParams | ScoreParams], seen: dict[str, Any]) -> Any:
        of_frames, own = seen["kind"] == "frames", {"average": "logits"} if params is ScoreParams else {}
        given = {"split": 1, "streams": ["rgb"], "seed": 2, "model": TSN if of_frames else LSTM, "input": seen, **own}
        found = params.model_validate(given if own else {**given, "training": TRAINING})
        features = () if of_frames else (extracted("rgb", **(VECTORS if seen == SPACED else EVERY_VECTOR)),)
        task = stages.task("train" if params is TrainParams else "score", found.model_dump(), (dataset[1], *features))
        return open_input(task, found, dataset[0], dataset[0].clips, report), found

    return run


@pytest.mark.parametrize(
    ("seen", "shape"),
    [(SPACED, (5, 64)), (SNIPPETS, (4, 64)), (frames(snippets=2, augmentation=True), (2, 3, 64, 64))],
)
def test_samples_of_training_are_what_the_network_was_built_for(
    opened: Any, seen: dict[str, Any], shape: tuple[int, ...]
) -> None:
    found, params = opened(TrainParams, seen)
    network = found.build(params.model, 2)
    batches = []
    for batch in found.source(params.training, params.seed, World()).batches(1, 0):
        assert batch.inputs.shape == (4, *shape)
        assert network(batch.inputs).logits.shape == (4, 2)
        batches.append(batch)
    assert sorted(torch.cat([batch.labels for batch in batches]).tolist()) == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("seen", "views", "at_once", "shape"),
    [
        (SPACED, 1, [7, 1], (5, 64)),
        (THREE_SNIPPETS, 3, [6] * 4, (4, 64)),
        (frames(frames=2, positions=2, crops="five"), 10, [3, 3, 3, 1] * 8, (2, 3, 64, 64)),
    ],
)
def test_each_clip_is_tested_in_all_its_views(
    opened: Any,
    seen: dict[str, Any],
    views: int,
    at_once: list[int],
    shape: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "MAX_BATCH", 7)
    monkeypatch.setattr(inputs, "MAX_FRAMES", 6)
    found, params = opened(ScoreParams, seen)
    network, clips, sizes = found.build(params.model, 2).eval(), [], []
    for batch in found.views():
        parts = list(batch.parts)
        assert sum(len(part) for part in parts) == views * len(batch.clips)
        assert all(part.shape[1:] == shape and network(part).logits.shape == (len(part), 2) for part in parts)
        sizes += [len(part) for part in parts]
        clips += batch.clips.tolist()
    assert (clips, sizes) == (list(range(8)), at_once)


def weights(finished: Any) -> Any:
    return (finished.output / "model.pt").read_bytes()


def test_spaced_features_lie_in_memory_where_they_fit(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found, params = opened(TrainParams, SPACED)
    assert isinstance(found.source(params.training, 2, World()), TensorSource)
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", 8 * 5 * 64 * 4 - 1)
    assert isinstance(found.source(params.training, 2, World()), FeatureSource)


def test_features_read_batch_by_batch_train_the_same_weights(
    extracted: Any, learn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = [extracted(stream) for stream in ("rgb", "flow")]
    in_memory, _ = learn(VIDEO_LSTM, *streams)
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", 0)
    from_disk, _ = learn(VIDEO_LSTM, *streams)
    assert weights(from_disk) == weights(in_memory)


def test_a_stopped_run_on_snippets_goes_on_to_the_same_weights(extracted: Any, learn: Any) -> None:
    rgb = extracted("rgb", frames=None)
    undisturbed, scored = learn(ALSTM, rgb, seen=SNIPPETS, viewed=THREE_SNIPPETS)
    assert read_scores(scored.output).values.shape == (4, 2)
    assert "train_top1" not in scored.summary
    interrupt.request()
    with pytest.raises(Interrupted):
        learn(ALSTM, rgb, seen=SNIPPETS, viewed=THREE_SNIPPETS, name="stopped")
    interrupt.clear()
    resumed, _ = learn(ALSTM, rgb, seen=SNIPPETS, viewed=THREE_SNIPPETS, name="stopped")
    assert weights(resumed) == weights(undisturbed)


def test_snippets_as_long_as_a_clip_are_that_clip(extracted: Any, learn: Any) -> None:
    """Three snippets of ten frames are the same ten frames: their mean is the score of one."""
    rgb, model = extracted("rgb", frames=None), {"kind": "conv_lstm", "hidden": 4, "fc_dim": 4}
    whole = {"kind": "snippets", "length": 10}
    (_, one), (_, three) = (learn(model, rgb, seen=whole, viewed={**whole, "count": count}) for count in (1, 3))
    np.testing.assert_allclose(read_scores(one.output).values, read_scores(three.output).values, rtol=1e-5)


@torch.no_grad()
def assert_averaged(network: nn.Module, views: Sequence[Tensor], found: np.ndarray) -> None:
    """Scores are the mean of the views' probabilities, which differ."""
    each = torch.cat([network.eval()(view).logits.softmax(-1) for view in views]).numpy()
    np.testing.assert_allclose(found, each.mean(0), rtol=3e-6)
    assert np.ptp(each, axis=0).max() > 1e-5  # several times the tolerance


def test_scores_of_snippets_are_averaged(dataset: Any, extracted: Any, learn: Any) -> None:
    rgb = extracted("rgb", **EVERY_VECTOR)
    trained, scored = learn(LSTM, rgb, seen=SNIPPETS, viewed=THREE_SNIPPETS)
    network = models.build("lstm", num_classes=2, feature_shape=(64,), hidden=(4,))
    network.load_state_dict(checkpoint.load(trained.output / "model.pt"))
    features = torch.from_numpy(np.load(rgb.path / "features.npy")).view(8, 1, 10, 64)
    names = [clip.id for clip in dataset[0].clips]
    found = read_scores(scored.output)
    for name, values in zip(found.clips, found.values, strict=True):
        own = features[names.index(name)]
        assert_averaged(network, [own[:, first : first + 4] for first in (1, 3, 5)], values)


@pytest.mark.parametrize("at_once", [512, 6, 1])
def test_scores_of_views_of_frames_are_averaged(
    dataset: Any, learn: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "MAX_FRAMES", at_once)
    viewed = frames(frames=2, positions=2, crops="five")
    trained, scored = learn(TSN, seen=frames(snippets=2, augmentation=True), viewed=viewed)
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

    monkeypatch.setattr(inputs, "MultiScale", Training)
    monkeypatch.setattr(inputs, "TestCrops", Test)
    seen, viewed = frames(stream, snippets=2, augmentation=True), frames(stream, frames=2, crops="ten")
    learn(TSN, dataset[2], seen=seen, viewed=viewed)
    assert told == [stream == "flow"] * 2


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_training_and_test_look_no_further_than_the_first_seconds(
    dataset: Any, learn: Any, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: Any = RgbSource if stream == "rgb" else FlowSource
    read, looks = source.read, []

    def noting(self: Any, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        looks.append((max(frames), visible))
        found: Tensor = read(self, clip, frames, visible)
        return found

    monkeypatch.setattr(source, "read", noting)
    beginning = frames(stream, first_seconds=3 / 25)
    seen, viewed = {**beginning, "snippets": 2, "augmentation": True}, {**beginning, "frames": 2}
    learn(TSN, dataset[2], seen=seen, viewed=viewed)
    assert len(looks) == 4 * TRAINING["epochs"] + 4  # clips trained on and tested
    assert all(last < visible == 3 for last, visible in looks)
