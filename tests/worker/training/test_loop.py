"""A run that was stopped or killed anywhere and resumed ends bit for bit like one that was not."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from services.errors import UserError
from services.specs import OptimizerSpec, PlateauSchedule, StepSchedule
from worker.training import checkpoint
from worker.training.batches import Batch, BatchSource, TensorSource
from worker.training.distributed import World
from worker.training.interrupt import Interrupted
from worker.training.loop import Loop, seed_everything
from worker.training.schedule import History

EPOCHS, STEPS = 3, 4
MakeLoop = Callable[..., Loop]


class Killed(Exception):
    pass


class Dying:
    """Batches that end with an exception, as a process ends that is killed: nothing is written."""

    def __init__(self, source: BatchSource, after: int) -> None:
        self._source, self._left = source, after

    @property
    def steps(self) -> int:
        return self._source.steps

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        for batch in self._source.batches(epoch, first_step):
            if self._left == 0:
                raise Killed
            self._left -= 1
            yield batch


def finish(loop: Loop) -> tuple[History, dict[str, Tensor]]:
    history = loop.run()
    return history, {name: value.clone() for name, value in loop._module.state_dict().items()}


def assert_same(one: tuple[History, dict[str, Tensor]], other: tuple[History, dict[str, Tensor]]) -> None:
    timings = {"epoch_seconds", "data_wait_ratio"}
    trimmed = [[{k: v for k, v in row.items() if k not in timings} for row in run[0]] for run in (one, other)]
    assert trimmed[0] == trimmed[1]
    assert one[1].keys() == other[1].keys()
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


def events(tmp_path: Path, kind: str, name: str = "run") -> list[dict[str, object]]:
    lines = (tmp_path / name / "events").read_text().splitlines()
    return [event["data"] for event in map(json.loads, lines) if event["type"] == kind]


def test_equal_runs_are_equal(make_loop: MakeLoop) -> None:
    assert_same(finish(make_loop(name="one")), finish(make_loop(name="other")))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_stopped_at_any_step(make_loop: MakeLoop, optimizer: str) -> None:
    changes = {"optimizer": OptimizerSpec(name=optimizer, learning_rate=1e-2), "milestones": (1,)}
    undisturbed = finish(make_loop(name="undisturbed", **changes))
    for asked in range(1, EPOCHS * STEPS):
        calls = itertools.count(1)
        with pytest.raises(Interrupted, match="stopped"):
            make_loop(name=f"{asked}", should_stop=lambda: next(calls) >= asked, **changes).run()  # noqa: B023
        assert_same(finish(make_loop(name=f"{asked}", **changes)), undisturbed)


KILLED = [(2, None), (5, 3), *(pytest.param(1, steps, marks=pytest.mark.long) for steps in (None, 1))]


@pytest.mark.parametrize(("checkpoint_epochs", "checkpoint_steps"), KILLED)
def test_killed_at_any_step(make_loop: MakeLoop, checkpoint_epochs: int, checkpoint_steps: int | None) -> None:
    undisturbed = finish(make_loop(name="undisturbed"))
    changes = {"checkpoint_epochs": checkpoint_epochs, "checkpoint_steps": checkpoint_steps}
    for after in range(EPOCHS * STEPS):
        name = f"{after}"
        with pytest.raises(Killed):
            make_loop(name=name, source=lambda source: Dying(source, after), **changes).run()  # noqa: B023
        assert_same(finish(make_loop(name=name, **changes)), undisturbed)


def test_what_a_killed_run_could_not_tell_is_told_by_the_resumed_one(make_loop: MakeLoop, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        make_loop(source=lambda source: Dying(source, 2 * STEPS)).run()
    (tmp_path / "run" / "events").unlink()  # nobody has read it
    make_loop().run()
    assert [event["step"] for event in events(tmp_path, "metrics")] == [1, 2, 3]


def test_stopped_again_and_again(make_loop: MakeLoop) -> None:
    undisturbed = finish(make_loop(name="undisturbed"))
    for _ in range(EPOCHS * STEPS - 1):
        with pytest.raises(Interrupted):
            make_loop(should_stop=lambda: True).run()
    assert_same(finish(make_loop()), undisturbed)


def test_a_stop_at_the_last_step_changes_nothing(make_loop: MakeLoop) -> None:
    calls = itertools.count(1)
    loop = make_loop(should_stop=lambda: next(calls) >= EPOCHS * STEPS)
    assert len(loop.run()) == EPOCHS


def test_a_finished_run_resumes_to_the_same_end(make_loop: MakeLoop) -> None:
    assert_same(finish(make_loop()), finish(make_loop()))


def test_it_learns_and_says_so(make_loop: MakeLoop, tmp_path: Path) -> None:
    history = make_loop(epochs=40).run()
    assert history[-1]["train_loss"] < history[0]["train_loss"] / 2
    assert history[-1]["train_accuracy"] > 0.6 > history[0]["train_accuracy"]
    metrics = events(tmp_path, "metrics")
    assert [entry["step"] for entry in metrics] == list(range(1, 41))
    assert set(metrics[0]["values"]) == {
        "train_loss", "train_accuracy", "learning_rate", "epoch_seconds", "data_wait_ratio",
    }  # fmt: skip
    last = events(tmp_path, "progress")[-1]
    assert (last["done"], last["total"], last["unit"], last["message"]) == (160, 160, "steps", "epoch 40/40")
    assert len(events(tmp_path, "checkpoint")) == 40


def test_the_learning_rate_follows_the_milestones(make_loop: MakeLoop) -> None:
    history = make_loop(milestones=(1, 2)).run()
    assert [row["learning_rate"] for row in history] == pytest.approx([1e-2, 1e-3, 1e-4])


def test_training_ends_after_its_iterations_inside_an_epoch(make_loop: MakeLoop, tmp_path: Path) -> None:
    history = make_loop(iterations=STEPS + 2).run()
    assert [row["epoch"] for row in history] == [1, 2]
    last = events(tmp_path, "progress")[-1]
    assert (last["done"], last["total"], last["message"]) == (STEPS + 2, STEPS + 2, "epoch 2/2")


def test_two_halves_of_the_iterations_are_the_whole(make_loop: MakeLoop) -> None:
    """The checkpoint after the last iteration holds no more steps than were asked for."""
    whole = finish(make_loop(name="whole", iterations=STEPS + 2))
    assert_same(finish(make_loop(name="whole", iterations=STEPS + 2)), whole)
    epochs = finish(make_loop(name="epochs", epochs=1))
    assert_same(finish(make_loop(name="iterations", iterations=STEPS)), epochs)


@pytest.mark.parametrize("iterations", [None, STEPS + 3])
def test_a_rate_that_falls_by_iterations_falls_inside_an_epoch_and_survives_a_stop(
    make_loop: MakeLoop, iterations: int | None
) -> None:
    schedule = StepSchedule(unit="iterations", milestones=(2, STEPS + 1), factor=0.5)
    changes = {"schedule": schedule, "iterations": iterations}
    undisturbed = finish(make_loop(name="undisturbed", **changes))
    assert [row["learning_rate"] for row in undisturbed[0]][:2] == pytest.approx([5e-3, 2.5e-3])
    for asked in range(1, (iterations or EPOCHS * STEPS)):
        calls = itertools.count(1)
        with pytest.raises(Interrupted):
            make_loop(name=f"{asked}", should_stop=lambda: next(calls) >= asked, **changes).run()  # noqa: B023
        assert_same(finish(make_loop(name=f"{asked}", **changes)), undisturbed)


def test_the_rate_falls_where_training_no_longer_improves_and_goes_on_so_after_a_stop(make_loop: MakeLoop) -> None:
    changes = {"schedule": PlateauSchedule(metric="train_loss", patience=0, threshold=0.2), "epochs": 8}
    undisturbed = finish(make_loop(name="undisturbed", **changes))
    rates = [row["learning_rate"] for row in undisturbed[0]]
    assert rates[0] == 1e-2
    assert rates[-1] < 1e-3
    with pytest.raises(Interrupted):
        make_loop(should_stop=lambda: True, **changes).run()
    assert_same(finish(make_loop(**changes)), undisturbed)


def test_checkpoints_come_at_their_intervals(make_loop: MakeLoop, tmp_path: Path) -> None:
    make_loop(checkpoint_epochs=2, checkpoint_steps=3).run()
    expected = [{"epoch": 1, "step": 3}, {"epoch": 2, "step": 3}, {"epoch": 3, "step": 0}, {"epoch": 3, "step": 3}]
    assert events(tmp_path, "checkpoint") == expected


def test_bfloat16_trains_and_resumes(make_loop: MakeLoop) -> None:
    undisturbed = finish(make_loop(name="undisturbed", precision="bfloat16"))
    with pytest.raises(Interrupted):
        make_loop(precision="bfloat16", should_stop=lambda: True).run()
    assert_same(finish(make_loop(precision="bfloat16")), undisturbed)


def test_a_loss_that_diverges_is_the_users_to_mend(make_loop: MakeLoop) -> None:
    sgd = OptimizerSpec(name="sgd", learning_rate=10.0)
    linear = nn.Linear(5, 3)
    model = Exploding(linear)
    words = r"step \d of epoch 1, at a learning rate of 10, left a loss that is no finite number; no checkpoint"
    with pytest.raises(
        UserError, match=rf"training diverged: {words} was written; hint: lower optimizer.learning_rate"
    ):
        make_loop(optimizer=sgd, epochs=50, model=model).run()


class Breaking(nn.Module):
    """Finite logits until a call; then the loss is no number, or its gradient is infinite."""

    def __init__(self, call: int, *, loss: bool) -> None:
        super().__init__()
        self.linear, self.calls, self._call, self._loss = nn.Linear(5, 3), 0, call, loss

    def forward(self, x: Tensor) -> "Exploding.Out":
        self.calls += 1
        logits = self.linear(x[:, 0])
        if self.calls == self._call:
            logits = logits * float("nan") if self._loss else logits + (logits - logits.detach()).abs().sqrt()
        return Exploding.Out(logits)


@pytest.mark.parametrize(("loss", "what"), [(True, "a loss"), (False, "a weight")])
@pytest.mark.parametrize("checkpoint_steps", [None, 1])
def test_the_last_checkpoint_before_a_divergence_is_kept(
    make_loop: MakeLoop, tmp_path: Path, loss: bool, what: str, checkpoint_steps: int | None
) -> None:
    """Step 2 of epoch 2 breaks; checkpoints are written at each epoch's end, and with 1 after each step."""
    model = Breaking(STEPS + 2, loss=loss)
    kept = (2, 0) if checkpoint_steps is None else (2, 1)
    step = 2
    if checkpoint_steps is None and not loss:
        step, what = 3, "a loss"  # weights are looked at before a checkpoint; here the next loss tells of them
    words = rf"step {step} of epoch 2, at a learning rate of 0\.01, left {what} that is no finite number"
    with pytest.raises(UserError, match=rf"{words}; the checkpoint of epoch 2, step {kept[1]} is kept"):
        make_loop(model=model, checkpoint_steps=checkpoint_steps).run()
    content = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert (content["epoch"], content["step"]) == kept
    assert all(value.isfinite().all() for value in content["model"].values())


class Exploding(nn.Module):
    """Logits that grow with the square of the weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> "Exploding.Out":
        return Exploding.Out(self.linear(x[:, 0] * 1e20) ** 3)

    class Out:
        def __init__(self, logits: Tensor) -> None:
            self.logits = logits


def test_batch_norm_needs_two_samples(make_loop: MakeLoop) -> None:
    with pytest.raises(UserError, match="batch_size: got 1, allowed: at least 2"):
        make_loop(batch_size=1).run()


def test_batch_norm_of_moving_statistics_does_not(make_loop: MakeLoop) -> None:
    seed_everything(3)
    model = models.build("relational_lstm", num_classes=3, feature_shape=(4, 2, 2), segments=2, hidden=2)
    maps = TensorSource(torch.randn(5, 3, 4, 2, 2), torch.arange(5) % 3, 1, 3, World())
    history = make_loop(batch_size=1, epochs=1, model=model, source=lambda _: maps).run()
    assert np.isfinite(history[0]["train_loss"])


def test_float16_needs_a_gpu(make_loop: MakeLoop) -> None:
    with pytest.raises(UserError, match="got 'float16' without a GPU"):
        make_loop(precision="float16").run()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_gpu_trains_in_every_precision(make_loop: MakeLoop, precision: str) -> None:
    model = models.build("ts_lstm", num_classes=3, feature_shape=(5,)).cuda()
    assert make_loop(precision=precision, epochs=40, model=model).run()[-1]["train_accuracy"] > 0.9
