"""Score files of a trained network."""

import json
from typing import Any

import numpy as np
import pytest

from services.scores.files import read_scores
from tests.worker.stages.conftest import SPACED

MODEL = {"kind": "ts_lstm", "hidden": [8]}


@pytest.fixture
def score(stages: Any, features: Any) -> Any:
    inputs = tuple(features[1].values())
    training = {"epochs": 15, "batch_size": 8, "optimizer": {"learning_rate": 0.02}}
    common = {"split": 1, "streams": ["flow", "rgb"], "seed": 2, "model": MODEL, "input": SPACED}
    trained = stages.run("train", {**common, "training": training}, inputs)

    def run(average: str) -> Any:
        return stages.run("score", {**common, "average": average}, (*inputs, trained.as_input("train")))

    return run


def test_every_test_clip_has_probabilities(score: Any, features: Any) -> None:
    finished = score("probabilities")
    scores = read_scores(finished.output)
    assert (scores.dataset, scores.split, scores.streams, scores.seed) == ("shades", 1, ("flow", "rgb"), 2)
    assert scores.classes == ("Dark", "Light")
    assert list(scores.clips) == sorted(features[0].splits[1].test)
    assert list(scores.labels) == [features[0].by_id[name].label for name in scores.clips]
    assert scores.kind == "probabilities"
    np.testing.assert_allclose(scores.values.sum(axis=1), 1)
    assert set(finished.summary) == {
        "top1", "top5", "mean_class", "correct", "clips", "train_top1", "weights_known", "chosen_on_test",
        "pictured", "embedded",
    }  # fmt: skip
    assert finished.summary["weights_known"] is False  # features of before
    assert finished.summary["clips"] == 4
    assert finished.summary["train_top1"] > 0.9
    assert finished.summary["correct"] == (scores.values.argmax(axis=1) == scores.truth).sum()
    json.dumps(finished.summary)


def test_logits_are_those_of_the_probabilities(score: Any) -> None:
    logits, probabilities = read_scores(score("logits").output), read_scores(score("probabilities").output)
    assert logits.kind == "logits"
    exponents = np.exp(logits.values)
    np.testing.assert_allclose(exponents / exponents.sum(axis=1, keepdims=True), probabilities.values)
