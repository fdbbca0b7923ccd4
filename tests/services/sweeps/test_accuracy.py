"""What a trial has reached: the mean over its networks, of which some train for longer than others."""

from __future__ import annotations

import pytest

from services.sweeps.accuracy import Learner, Look, mean_by_epoch


def test_a_network_whose_training_was_shorter_counts_with_what_it_kept() -> None:
    learners = (Learner({1: 0.4, 2: 0.6, 3: 0.8}), Learner({1: 0.2, 2: 0.1}, kept=0.2))
    assert mean_by_epoch(learners) == pytest.approx({1: 0.3, 2: 0.35, 3: 0.5})
    assert Look("running", None, learners).kept is None


def test_an_epoch_counts_once_all_networks_have_ended_it() -> None:
    assert mean_by_epoch((Learner({1: 0.4, 2: 0.6}), Learner({1: 0.2}))) == pytest.approx({1: 0.3})
    assert mean_by_epoch((Learner({1: 0.4}), Learner())) == {}
    assert mean_by_epoch(()) == {}
