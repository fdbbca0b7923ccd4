"""The weights of the best epoch are kept, wherever a run was stopped or killed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.worker.training.conftest import network, samples
from tests.worker.training.test_loop import EPOCHS, STEPS, Dying, Killed, assert_same, events, finish
from worker.training.interrupt import Interrupted
from worker.training.loop import Loop
from worker.training.loss import cross_entropy
from worker.training.selection import HeldOut, Tried, best_epoch, is_over

MakeLoop = Callable[..., Loop]


def tried(model: nn.Module) -> Tried:
    """Of clips of other numbers than those of training."""
    assert not model.training
    features, labels = samples(60)
    with torch.inference_mode():
        logits = model(features[20:]).logits
    loss = float(cross_entropy(logits, labels[20:]))
    return Tried(loss, int((logits.argmax(1) == labels[20:]).sum()), 40)


VALIDATION = HeldOut("validation", tried)


def test_the_best_epoch_is_the_first_of_equal_ones() -> None:
    history = [{"validation_accuracy": value} for value in (0.5, 0.7, 0.7, 0.6)]
    assert best_epoch(history, "validation_accuracy") == 2
    assert [is_over(history, "validation_accuracy", patience) for patience in (None, 1, 2, 3)] == [
        False, True, True, False,
    ]  # fmt: skip
    assert not is_over([], "validation_accuracy", 1)


def test_the_weights_are_those_of_the_best_epoch(make_loop: MakeLoop) -> None:
    """A rate so high that the last epochs are worse than some before."""
    changes: dict[str, Any] = {"epochs": 12, "selection": "validation", "optimizer": {"learning_rate": 0.3}}
    changes["optimizer"] = make_loop()._spec.optimizer.model_copy(update=changes["optimizer"])
    history, weights = finish(make_loop(held_out=VALIDATION, **changes))
    best = best_epoch(history, "validation_accuracy")
    assert best < 12
    shorter = finish(make_loop(name="shorter", **(changes | {"epochs": best})))
    assert_same((history[:0], weights), (shorter[0][:0], shorter[1]))
    model = network()
    model.load_state_dict(weights)
    found = tried(model.eval())
    assert found.hits / 40 == history[best - 1]["validation_accuracy"]
    assert found.loss / 40 == history[best - 1]["validation_loss"]


def test_clips_that_do_not_choose_are_tried_and_the_last_epoch_is_kept(make_loop: MakeLoop) -> None:
    """A rate so high that an epoch before the last is better."""
    optimizer = make_loop()._spec.optimizer.model_copy(update={"learning_rate": 0.3})
    changes: dict[str, Any] = {"epochs": 12, "optimizer": optimizer}
    history, weights = finish(make_loop(name="tried", held_out=VALIDATION._replace(chooses=False), **changes))
    assert best_epoch(history, "validation_accuracy") < 12
    assert all(row["validation_loss"] > 0 for row in history)
    plain, last = finish(make_loop(name="plain", **changes))
    assert_same((history[:0], weights), (plain[:0], last))


def test_trying_clips_changes_nothing_of_the_training(make_loop: MakeLoop) -> None:
    plain = make_loop(name="plain").run()
    tried = make_loop(held_out=VALIDATION).run()
    assert [row["train_loss"] for row in plain] == [row["train_loss"] for row in tried]


@pytest.mark.parametrize(
    ("checkpoint_epochs", "ending"),
    [
        (1, "killed"),
        (2, "stopped"),
        pytest.param(1, "stopped", marks=pytest.mark.long),
        pytest.param(2, "killed", marks=pytest.mark.long),
    ],
)
def test_it_ends_the_same_after_a_stop_or_a_kill(make_loop: MakeLoop, ending: str, checkpoint_epochs: int) -> None:
    changes = {"checkpoint_epochs": checkpoint_epochs, "held_out": VALIDATION}
    undisturbed = finish(make_loop(name="undisturbed", **changes))
    for after in range(1, EPOCHS * STEPS + 1):
        calls = itertools.count(1)
        stops = {"should_stop": lambda: next(calls) >= after}  # noqa: B023
        dies = {"source": lambda source: Dying(source, after - 1)}  # noqa: B023
        with pytest.raises((Interrupted, Killed)):
            make_loop(name=f"{after}", **(stops if ending == "stopped" else dies), **changes).run()
        assert_same(finish(make_loop(name=f"{after}", **changes)), undisturbed)


def test_training_ends_where_nothing_is_gained_and_stays_ended(make_loop: MakeLoop, tmp_path: Path) -> None:
    constant = HeldOut("test", lambda _: Tried(1.0, 1, 2))
    changes = {"held_out": constant, "epochs": 50, "selection": "test", "patience": 3}
    history = make_loop(**changes).run()
    assert [row["test_accuracy"] for row in history] == [0.5] * 4
    last = events(tmp_path, "progress")[-1]
    assert (last["done"], last["total"]) == (200, 200)
    assert last["message"] == "ended after epoch 4: no gain in 3 epochs"
    assert len(make_loop(**changes).run()) == 4


def test_the_length_in_iterations_may_end_inside_an_epoch(make_loop: MakeLoop) -> None:
    history = make_loop(held_out=VALIDATION, iterations=STEPS + 1).run()
    assert [len(row) for row in history] == [8, 8]
