"""A ConvNet that is scored as `finetune` left it, with its own classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from services.scores.files import read_scores
from tests.worker.stages.conftest import TRAINING, frames
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
