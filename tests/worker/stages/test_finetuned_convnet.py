"""A ConvNet that is scored as `finetune` left it, with its own classifier."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.errors import DataError, UserError
from services.scores.files import read_scores
from services.specs import TrainingSpec
from tests.worker.stages.conftest import SPACED, TRAINING, frames
from worker.contract import StageInput
from worker.stages.seen import UNKNOWN, Seen, SeenSplit, marked, read_seen, training_of
from worker.training import checkpoint

CONVNET = {"kind": "convnet", "classifier": "finetuned"}


@pytest.fixture
def tuned(stages: Any, dataset: Any) -> Any:
    params = {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0.5, "augmentation": None, "training": TRAINING,
    }  # fmt: skip
    return stages.run("finetune", params, (dataset[1],))


@pytest.fixture
def score(stages: Any, dataset: Any, tuned: Any) -> Any:
    def run(**views: Any) -> Any:
        seen = frames(**{"frames": 3, "flow_stack": 0, **views})
        common = {"split": 1, "streams": ["rgb"], "seed": 1, "model": CONVNET, "average": "probabilities"}
        return stages.run("score", {**common, "input": seen}, (dataset[1], tuned.as_input("finetune")))

    return run


def test_scores_are_the_mean_of_its_own_probabilities_over_frames(
    stages: Any, dataset: Any, tuned: Any, score: Any
) -> None:
    finished = score()
    scores = read_scores(finished.output)
    extract = {"stream": "rgb", "flow_stack": 0, "backbone": {"name": "tiny"}, "feature": "pool", "frames": 3}
    extracted = stages.run("extract", extract, (dataset[1], tuned.as_input("finetune")))
    vectors = torch.from_numpy(np.load(extracted.output / "features.npy")).view(len(dataset[0].clips), 3, -1)
    state = checkpoint.load(tuned.output / "model.pt")
    logits = vectors @ state["classifier.weight"].T + state["classifier.bias"]
    expected = {clip.id: row for clip, row in zip(dataset[0].clips, logits.softmax(-1).mean(1), strict=True)}
    found = torch.from_numpy(scores.values)
    torch.testing.assert_close(found, torch.stack([expected[c] for c in scores.clips]).double(), rtol=1e-4, atol=1e-5)
    assert finished.summary["clips"] == 4


def test_crops_and_positions_count(score: Any) -> None:
    plain, other = (read_scores(score(**views).output).values for views in ({}, {"crops": "ten", "positions": 2}))
    assert not np.array_equal(plain, other)
    np.testing.assert_allclose(other.sum(axis=1), 1)


def test_weights_that_saw_the_test_clips_are_refused(dataset: Any, score: Any, tuned: Any) -> None:
    assert score().summary["weights_known"] is True
    path, manifest = tuned.output / "model.pt", dataset[0]
    state, own = checkpoint.load(path), read_seen(path)
    checkpoint.save(path, marked(state, own.then(UNKNOWN)))
    assert score().summary["weights_known"] is False
    checkpoint.save(path, marked(state, own.then(Seen((SeenSplit(manifest.dataset, 2, ""),)))))
    count = len(manifest.splits[1].test)
    words = f"weights trained on split 2 of {manifest.dataset} have seen {count} clips that split 1 tests on"
    with pytest.raises(UserError, match=f"^{words}$"):
        score()


def test_lists_are_known_by_what_they_hold(dataset: Any, score: Any, tuned: Any) -> None:
    path, manifest = tuned.output / "model.pt", dataset[0]
    state, own = checkpoint.load(path), read_seen(path)
    [trained] = own.splits
    assert (score().summary["weights_known"], score().summary["chosen_on_test"]) == (True, False)
    for seen, known in (
        (replace(trained, dataset="the same under another name"), True),
        (SeenSplit("another", 2, "0" * 64), True),
        (replace(trained, digest="0" * 64), False),  # its list of before
    ):
        checkpoint.save(path, marked(state, Seen((seen,))))
        assert score().summary["weights_known"] is known
    second = training_of(manifest, 2, TrainingSpec()).splits[0]
    checkpoint.save(path, marked(state, Seen((replace(second, dataset="the same under another name"),))))
    with pytest.raises(UserError, match="weights trained on split 2 of shades have seen"):
        score()


def test_weights_say_whose_test_clips_chose_them(dataset: Any, score: Any, tuned: Any) -> None:
    path, manifest = tuned.output / "model.pt", dataset[0]
    state = checkpoint.load(path)
    seen = training_of(manifest, 1, TrainingSpec(selection="test"))
    for chosen, said in (
        (seen.chosen, True),
        (tuple(replace(entry, dataset="the same under another name") for entry in seen.chosen), True),
        ((SeenSplit("another", 1, "0" * 64),), False),
    ):
        checkpoint.save(path, marked(state, replace(seen, chosen=chosen)))
        assert (score().summary["chosen_on_test"], read_seen(path).chosen) == (said, chosen)
    assert training_of(manifest, 1, TrainingSpec(selection="validation")).chosen == ()


@pytest.mark.parametrize(
    ("before", "doubt"),
    [
        ({}, True),
        ({"validate": True, "validation_share": 0.5}, False),
        ({"validate": True, "validation_share": 0.2}, True),
        (None, False),  # weights that say nothing are said to be unknown
    ],
)
def test_held_out_clips_that_earlier_weights_learned_are_told(
    stages: Any, dataset: Any, before: dict[str, Any] | None, doubt: bool
) -> None:
    """Of a file, which nobody else can look into, as of stages."""
    params = {
        "split": 1, "stream": "rgb", "seed": 1, "backbone": {"name": "tiny"}, "flow_stack": 0, "samples_per_clip": 1,
        "dropout": 0.5, "augmentation": None,
    }  # fmt: skip
    first = stages.run("finetune", {**params, "training": {**TRAINING, **(before or {})}}, (dataset[1],))
    path = first.output / "model.pt"
    if before is None:
        checkpoint.save(path, marked(checkpoint.load(path), UNKNOWN))
    chosen = {**TRAINING, "selection": "validation", "validation_share": 0.3}
    file = {**params, "backbone": {"name": "tiny", "weights": str(path)}}
    second = stages.run("finetune", {**file, "training": chosen}, (dataset[1],))
    assert second.summary.get("validation_seen") == (dataset[0].dataset if doubt else None)
    third = stages.run("finetune", {**file, "training": {**chosen, "selection": "last"}}, (dataset[1],))
    assert "validation_seen" not in third.summary


def test_features_tell_what_their_weights_have_seen(stages: Any, dataset: Any, tuned: Any) -> None:
    extract = {"stream": "rgb", "flow_stack": 0, "backbone": {"name": "tiny"}, "feature": "pool", "frames": 3}
    extracted = stages.run("extract", extract, (dataset[1], tuned.as_input("finetune")))
    model = {"kind": "mean_pooling"}
    common = {"split": 1, "streams": ["rgb"], "seed": 1, "model": model, "input": SPACED}
    inputs = (dataset[1], extracted.as_input("rgb"))
    trained = stages.run("train", {**common, "training": TRAINING}, inputs)
    seen = read_seen(trained.output / "model.pt")
    assert (seen, seen.complete) == (read_seen(tuned.output / "model.pt"), True)
    (extracted.output / "seen.json").unlink()
    before = stages.run("train", {**common, "training": TRAINING}, inputs)
    assert not read_seen(before.output / "model.pt").complete


def test_flow_of_other_frames_than_rgb_is_refused(stages: Any, dataset: Any, tmp_path: Path) -> None:
    counts = {clip.id: clip.frames for clip in dataset[0].clips}
    first = min(counts)
    (tmp_path / "clips.json").write_text(json.dumps(counts | {first: counts[first] + 1}))
    flow = StageInput(name="flow/0", kind="flow", key="3" * 64, path=tmp_path)
    extract = {"stream": "flow", "flow_stack": 2, "backbone": {"name": "tiny"}, "feature": "pool", "frames": 3}
    words = f"flow: numbers of frames: 1 clip: {first} has {counts[first]} of rgb and {counts[first] + 1} of flow"
    with pytest.raises(DataError, match=f"^{words}$"):
        stages.run("extract", extract, (dataset[1], flow))
