"""Two processes that train together: ``python one_of_two.py FOLDER``.

The second is forked off the first once that has imported all, which takes far longer than what they train.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import models
from services.specs import OptimizerSpec, TrainingSpec
from worker.contract import Reporter
from worker.training import checkpoint
from worker.training.batches import TensorSource
from worker.training.distributed import World, joined
from worker.training.interrupt import Interrupted
from worker.training.loop import Loop, seed_everything

SPEC = TrainingSpec(epochs=2, batch_size=6, optimizer=OptimizerSpec(name="sgd", learning_rate=0.1))


def train(folder: Path, world: World, *, stop: bool = False, batch_norm: bool = False) -> list[dict[str, float]]:
    """Train from the folder's checkpoint on; ``stop`` has the last process alone ask for a stop."""
    seed_everything(1)
    model = models.build("ts_lstm", num_classes=3, feature_shape=(4,), hidden=(5,), batch_norm=batch_norm)
    features = torch.randn(16, 6, 4, generator=torch.Generator().manual_seed(2))
    source = TensorSource(features, torch.arange(16) % 3, SPEC.batch_size, 1, world)
    report = Reporter(folder / f"events{world.rank}")
    loop = Loop(
        model, source, SPEC, seed=1, state=folder, report=report, world=world,
        should_stop=lambda: stop and world.rank == world.size - 1,
    )  # fmt: skip
    try:
        return loop.run()
    finally:
        report.close()
        checkpoint.save(folder / f"model{world.rank}.pt", model.state_dict())


@contextmanager
def short_of_memory(most: int, *, here: bool = True) -> Iterator[None]:
    """A linear layer that more than so many clips pass at once finds no memory, in this process or in another."""
    forward = torch.nn.Linear.forward

    def limited(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        if here and len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, x)

    torch.nn.Linear.forward = limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Linear.forward = forward  # type: ignore[method-assign]


LONG = TrainingSpec(iterations=20, batch_size=6, optimizer=OptimizerSpec(name="sgd", learning_rate=0.5))


def train_long(folder: Path, world: World, **changes: object) -> None:
    """Train 20 steps in float64, without batch norm and dropout."""
    seed_everything(1)
    sizes = {"feature_shape": (4,), "hidden": (5,), "batch_norm": False, "dropout": 0.0}
    model = models.build("ts_lstm", num_classes=3, **sizes).double()
    features = torch.randn(16, 6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    spec = LONG.model_copy(update=changes)
    report = Reporter(folder / f"events{world.rank}")
    Loop(
        model, TensorSource(features, torch.arange(16) % 3, spec.batch_size, 1, world), spec, seed=1, state=folder,
        report=report, world=world, should_stop=lambda: False,
    ).run()  # fmt: skip
    report.close()
    checkpoint.save(folder / f"model{world.rank}.pt", model.state_dict())


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as world:
        for name in ("undisturbed", "stopped", "normalised", "long", "micro", "auto"):
            (folder / name).mkdir(exist_ok=True)
        history = train(folder / "undisturbed", world)
        try:
            train(folder / "stopped", world, stop=True)
        except Interrupted as interrupted:
            (folder / f"interrupted{world.rank}").write_text(str(interrupted))
        train(folder / "stopped", world)
        train(folder / "normalised", world, batch_norm=True)
        train_long(folder / "long", world)
        train_long(folder / "micro", world, micro_batch=2)
        with short_of_memory(2, here=world.rank == world.size - 1):
            train_long(folder / "auto", world, micro_batch="auto")
        checkpoint.save(folder / f"history{world.rank}.pt", {"history": history})


if __name__ == "__main__":
    other = os.fork()
    os.environ["RANK"] = str(int(other == 0))
    main(Path(sys.argv[1]))
    if other:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
