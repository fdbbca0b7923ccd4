"""Accuracies by hand."""

import numpy as np
import pytest

from services.metrics import of_scores
from worker.stages.metrics import MEASURES, measure


def test_small_case() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]])
    metrics = measure(scores, np.array([0, 1, 1, 2]))
    assert metrics.numbers() == pytest.approx(
        {"top1": 0.5, "top5": 1.0, "mean_class": (1 + 0.5 + 0) / 3, "correct": 2, "clips": 4}
    )
    assert metrics.per_class == {0: 1.0, 1: 0.5, 2: 0.0}


def test_every_metric_has_a_function_or_is_a_share_of_clips() -> None:
    assert {name for name, metric in of_scores().items() if metric.within is None} == set(MEASURES)


def test_answers_are_the_predicted_label_and_the_rank_of_the_right_one() -> None:
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4]])
    assert measure(scores, np.array([0, 2, 2, 2])).answers.tolist() == [[0, 0], [1, 1], [0, 2], [0, 1]]


def test_categories_are_pooled_over_their_clips() -> None:
    scores = np.eye(4)[[0, 0, 1, 0, 3]]
    metrics = measure(scores, np.array([0, 1, 1, 1, 3]), ("odd", "even", "odd", "few"))
    assert metrics.per_category == {"odd": 1.0, "even": pytest.approx(1 / 3), "few": 1.0}


def test_top5_is_among_the_five_highest() -> None:
    scores = np.tile(np.arange(7.0), (7, 1))
    assert measure(scores, np.arange(7)).values["top5"] == pytest.approx(5 / 7)


def test_equal_scores_are_right_for_the_first_label_only() -> None:
    metrics = measure(np.zeros((3, 8)), np.array([0, 4, 5]))
    assert (metrics.correct, metrics.values["top5"]) == (1, pytest.approx(2 / 3))
    assert metrics.answers.tolist() == [[0, 0], [0, 4], [0, 5]]


def test_classes_without_clips_do_not_count() -> None:
    metrics = measure(np.array([[1.0, 0, 0, 0]]), np.array([0]))
    assert metrics.values["mean_class"] == 1.0
