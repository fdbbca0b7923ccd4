"""Greedy ensembles: who goes together is found, and choosing among noise is told from gain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from services.scores.files import ScoreFile
from services.scores.fusion import fused_scores
from services.scores.greedy import FOLDS, greedy
from services.specs import Rule

GROUPS, EACH = 10, 12
CLASSES = ("Jump", "Run", "Walk")
CLIPS = tuple(f"Run/v_Run_g{group:02d}_c{clip:02d}" for group in range(1, GROUPS + 1) for clip in range(1, EACH + 1))
TRUTH = np.arange(len(CLIPS)) % len(CLASSES)


def scores(values: NDArray[np.float64]) -> ScoreFile:
    probabilities = values / values.sum(axis=1, keepdims=True)
    return ScoreFile("d", 1, ("rgb",), 0, CLASSES, CLIPS, TRUTH, probabilities, "probabilities")


def knowing(clips: NDArray[np.bool_]) -> ScoreFile:
    """Return a system that is sure of the right class of some clips, and leans to a wrong one on the others."""
    values = np.full((len(CLIPS), len(CLASSES)), 0.3)
    values[np.arange(len(CLIPS)), (TRUTH + 1) % len(CLASSES)] = 0.4
    values[clips] = 0.01
    values[clips, TRUTH[clips]] = 1.0
    return scores(values)


def guessing(seed: int) -> ScoreFile:
    return scores(np.random.default_rng(seed).random((len(CLIPS), len(CLASSES))))


def test_systems_that_know_what_the_other_does_not_are_found() -> None:
    even = np.arange(len(CLIPS)) % 2 == 0
    found = greedy([guessing(0), knowing(even), guessing(1), knowing(~even)], "probabilities", 3, 60)
    assert found.members == (1, 3)
    assert found.alone[1] == found.alone[3] == 0.5
    assert [(size.members, size.added) for size in found.curve][:2] == [(1, 1), (2, 3)]
    assert (found.curve[1].on_test, found.curve[1].held_out) == (1.0, 1.0)
    assert (found.gain_on_test, found.groups, found.folds, found.complete) == (0.5, GROUPS, FOLDS, True)


def test_of_systems_that_say_the_same_one_is_enough() -> None:
    even = np.arange(len(CLIPS)) % 2 == 0
    found = greedy([knowing(even)] * 3, "product", 3, 60)
    assert (found.size, found.members) == (1, (0,))
    assert (found.gain_on_test, found.gain_held_out, found.tuning) == (0, 0, 0)


def test_what_choosing_among_guesses_gains_is_tuning() -> None:
    found = greedy([guessing(seed) for seed in range(24)], "probabilities", 4, 60)
    assert found.curve[0].on_test > 1 / 3, "the best of 24 guesses"
    assert found.curve[-1].on_test > found.curve[0].on_test + 0.03
    for size in found.curve:
        assert abs(size.held_out - 1 / 3) < 0.1 < size.on_test - 0.3
    assert found.curve[-1].on_test - found.curve[-1].held_out > 0.1


def test_when_the_time_is_over_what_was_found_is_there() -> None:
    found = greedy([guessing(seed) for seed in range(5)], "probabilities", 4, 0)
    assert (len(found.curve), found.complete, len(found.members)) == (1, False, 1)


NEARLY_EVEN = np.full((len(CLIPS), len(CLASSES)), 1.0) + 1e-9 * np.eye(len(CLASSES))[TRUTH]
LARGEST = np.finfo(np.float64).max * (2 * np.eye(len(CLASSES))[TRUTH] - 1)
NOISE = np.random.default_rng(0).normal(size=(len(CLIPS), len(CLASSES)))


@pytest.mark.parametrize("rule", ["probabilities", "logits", "product"])
@pytest.mark.parametrize("values", [NEARLY_EVEN, LARGEST, 1e39 * NOISE, NOISE, 1e-300 * NOISE])
def test_what_is_said_of_members_is_what_their_fusion_measures(values: NDArray[np.float64], rule: Rule) -> None:
    files = [replace(scores(NEARLY_EVEN), scores=each, kind="logits") for each in (values, values, NOISE)]
    found = greedy(files, rule, 3, 60)
    members = [files[size.added] for size in found.curve]
    for size in found.curve:
        fused = fused_scores(members[: size.members], rule, [1.0] * size.members)
        assert size.on_test == (fused.argmax(axis=1) == TRUTH).mean()
    assert found.alone == tuple((fused_scores([file], rule, [1.0]).argmax(axis=1) == TRUTH).mean() for file in files)
