"""What the test of a network leaves for pictures, from real clips: the frames that it saw, and what it did there."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import models
from models.parts.output import Output
from services.params import FrameViews
from services.pictures import MOST_WIDTH, read_flow, read_test
from services.scores.files import read_scores
from services.stages import ScoreParams
from tests.worker.stages.conftest import FRAMES, SIDE, SPACED, TRAINING, clip, frames
from worker.stages.watched import Watched, seen_region, shown_frames, shown_view
from worker.training import checkpoint

SAMPLED = {"backbone": "tiny", "frames": 5, "flow_stack": 2, "crop": "stretch"}
ATTENDS = {"kind": "conv_alstm", "hidden": 4, "fc_dim": 6, "attention_dim": 4}
MEMORY = {"kind": "memory", "hidden": 4, "controller": 4}


def scored(stages: Any, dataset: Any, model: Any, *inputs: Any, **changes: Any) -> Any:
    """Train and score a network on features or frames."""
    streams = [changes["viewed"]["stream"]] if "viewed" in changes else [entry.name for entry in inputs]
    common = {"split": 1, "streams": streams, "seed": 2, "model": model}
    given = (dataset[1], *inputs)
    seen = changes.pop("seen", SPACED)
    trained = stages.run("train", {**common, "training": TRAINING, "input": seen}, given)
    scoring = {**common, "average": "probabilities", "input": changes.pop("viewed", seen), **changes}
    return trained, stages.run("score", scoring, (*given, trained.as_input("train")))


def brightness(image: bytes) -> float:
    return float(np.asarray(Image.open(io.BytesIO(image))).mean())


def test_attention_lies_on_the_frames_that_the_network_saw(stages: Any, dataset: Any, extracted: Any) -> None:
    _, finished = scored(stages, dataset, ATTENDS, extracted("rgb"), sampled=SAMPLED, pictures=2)
    left, scores = read_test(finished.output), read_scores(finished.output)
    assert finished.summary["pictured"] == [strip.clip for strip in left.strips]
    assert [scores.labels[scores.clips.index(strip.clip)] for strip in left.strips] == [0, 1]
    for strip, label in zip(left.strips, (0, 1), strict=True):
        assert (strip.steps, len(strip.frames), len(strip.images)) == (tuple(range(5)), 5, 5)
        assert (strip.size, strip.region) == ((SIDE, SIDE), (0.0, 0.0, SIDE, SIDE))
        assert strip.attention is not None
        assert strip.attention.shape == (5, 4, 4)
        np.testing.assert_allclose(strip.attention.astype(float).sum((1, 2)), 1, atol=0.02)
        assert all((brightness(image) > 100) == bool(label) for image in strip.images)
    assert not finished.events("warning")


def test_embeddings_are_what_the_classifier_was_given(stages: Any, dataset: Any, extracted: Any) -> None:
    """Its weights turn the mean over steps into the mean of the logits, by which the score file was made."""
    trained, finished = scored(stages, dataset, ATTENDS, extracted("rgb"))
    left, scores = read_test(finished.output), read_scores(finished.output)
    assert left.embeddings is not None
    assert left.embeddings.shape == (4, 6)
    assert left.strips == ()  # planned before there were pictures: nobody says which frames the features are of
    weights = checkpoint.load(trained.output / "model.pt")
    logits = left.embeddings @ weights["classifier.classifier.weight"].numpy().T
    logits = logits + weights["classifier.classifier.bias"].numpy()
    assert (logits.argmax(1) == scores.values.argmax(1)).all()


def test_memory_writes_are_kept_of_every_clip(stages: Any, dataset: Any) -> None:
    seen, viewed = frames(snippets=3, augmentation=False), frames(frames=4, crops="ten")
    _, finished = scored(stages, dataset, MEMORY, seen=seen, viewed=viewed, pictures=1)
    left = read_test(finished.output)
    assert left.writes is not None
    assert left.probability is not None
    assert left.writes.shape == left.probability.shape == (4, 4)
    np.testing.assert_array_equal(left.writes.astype(bool), left.probability > 0.5)
    assert left.threshold == 0.5
    assert [len(strip.images) for strip in left.strips] == [4]
    assert left.embeddings is not None
    assert len(left.embeddings) == 4


def test_a_clip_that_is_gone_costs_its_picture_alone(stages: Any, features: Any) -> None:
    """These features are of clips that were never there."""
    _, finished = scored(stages, (None, features[1]["index"]), {"kind": "lstm", "hidden": [4]},
                               features[1]["rgb"], sampled=SAMPLED | {"frames": 6})  # fmt: skip
    assert finished.summary["pictured"] == []
    assert finished.summary["embedded"]
    assert "no pictures of" in finished.events("warning")[0]["message"]


def params(look: dict[str, Any], **changes: Any) -> ScoreParams:
    own = {"split": 1, "streams": ["rgb"], "seed": 0, "model": {"kind": "tsn"}, "average": "probabilities"}
    return ScoreParams.model_validate({**own, "input": look, **changes})


def test_the_view_that_is_shown_is_the_one_in_the_middle(dataset: Any) -> None:
    first = dataset[0].clips[0]
    ten = params(frames(frames=3, crops="ten", positions=2))
    assert isinstance(ten.input, FrameViews)
    assert shown_view(ten, 20) == 4 * 2 + 1
    assert len(shown_frames(ten, first)) == 3
    rules = {"even", "whole_step"}
    spaced = [params(frames(frames=4, spacing=rule)) for rule in sorted(rules)]
    spaced += [params(SPACED, sampled=SAMPLED | {"frames": 4, "spacing": rule}) for rule in sorted(rules)]
    even, whole, *features = [shown_frames(each, first).tolist() for each in spaced]
    assert [even, whole] == features
    assert even != whole
    snippets = params({"kind": "snippets", "length": 4, "count": 3}, sampled=SAMPLED | {"frames": None})
    assert shown_view(snippets, 3) == 1
    assert np.diff(shown_frames(snippets, first)).tolist() == [1, 1, 1]
    assert 0 < shown_frames(snippets, first)[0] < FRAMES - 4


def test_the_region_is_what_the_crop_leaves(dataset: Any) -> None:
    wide = dataset[0].clips[0].model_copy(update={"width": 340, "height": 256})
    assert seen_region(params(frames(frames=3, crops="ten")), wide, 64) == (58.0, 16.0, 224.0, 224.0)
    assert seen_region(params(SPACED, sampled=SAMPLED), wide, 64) == (0, 0, 340, 256)
    left, top, width, height = seen_region(params(SPACED, sampled=SAMPLED | {"crop": "center"}), wide, 224)
    assert (left + width / 2, top + height / 2) == (170, 128)
    assert width == height == pytest.approx(224)


class Wide(torch.nn.Module):
    """Classifies 3,000 numbers of a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = torch.nn.Linear(3000, 2)

    def forward(self, x: torch.Tensor) -> Output:
        return Output(self.classifier(x))


def test_wide_embeddings_are_carried_over_with_their_distances(dataset: Any) -> None:
    torch.manual_seed(0)
    clips, model, values = dataset[0].clips[:4], Wide().eval(), torch.randn(4, 3000)
    watched = Watched(model, params(SPACED, pictures=0), clips)
    for part in (0, 2):
        watched(np.arange(part, part + 2), [model(values[part : part + 2])])
    [first, second] = watched._embeddings
    kept = torch.from_numpy(np.concatenate([first, second])).float()
    assert kept.shape == (4, MOST_WIDTH)
    np.testing.assert_allclose(torch.pdist(kept), torch.pdist(values), rtol=0.1)


FORMS = {"vector": (4,), "map": (3, 4, 4)}


@pytest.mark.parametrize("kind", models.KINDS)
def test_every_network_says_what_its_classifier_is_given(kind: str) -> None:
    """Networks are found by the name of their last layer; one that names it otherwise has no embedding."""
    known = models.KINDS[kind]
    by_stream = {stream: FORMS[form] for stream, form in known.streams.items()}
    shape: Any = by_stream or FORMS[known.inputs]
    own = {} if "hidden" not in known.options else {"hidden": 4}
    model = models.build(kind, num_classes=3, feature_shape=shape, **own).eval()
    values = {stream: torch.randn(2, 6, *one) for stream, one in by_stream.items()} or torch.randn(2, 6, *shape)
    clips = [clip(0, 1), clip(1, 1)]
    watched = Watched(model, params(SPACED, pictures=0), clips)
    with torch.inference_mode():
        watched(np.arange(2), [model(values)])
    [found] = watched._embeddings
    last = [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part.out_features == 3][-1]
    assert found.shape == (2, last.in_features)


def test_flow_is_left_of_a_few_clips(stages: Any, dataset: Any) -> None:
    flow = {"algorithm": "farneback", "bound": 20, "shard": 0, "shards": 1}
    finished = stages.run("flow", flow, (dataset[1],))
    left = read_flow(finished.output)
    assert finished.summary["pictured"] == [strip.clip for strip in left]
    assert {strip.clip.partition("/")[0] for strip in left} == {"Dark", "Light"}
    for strip in left:
        assert strip.in_pixels
        assert strip.motion.shape == (6, 2, SIDE, SIDE)
        assert len(strip.images) == 6
        assert np.abs(strip.motion).max() <= 20
