"""A small training run in a folder of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import models
from services.specs import OptimizerSpec, TrainingSpec
from worker.contract import Reporter
from worker.training.batches import BatchSource, TensorSource
from worker.training.distributed import World
from worker.training.loop import Loop, seed_everything
from worker.training.selection import HeldOut

torch.set_num_threads(1)  # tests share the cores; OpenMP's threads would spin and wait for one another

SPEC = TrainingSpec(epochs=3, batch_size=4, optimizer=OptimizerSpec(learning_rate=1e-2))


def samples(count: int = 15) -> tuple[Tensor, Tensor]:
    """Features (N, 6, 5) of three classes told apart by the order of their steps."""
    generator = torch.Generator().manual_seed(7)
    features = torch.randn(count, 6, 5, generator=generator)
    labels = torch.arange(count) % 3
    features[torch.arange(count), labels * 2] += 2
    return features, labels


def network() -> nn.Module:
    seed_everything(3)
    return models.build("ts_lstm", num_classes=3, feature_shape=(5,), hidden=(8,), dropout=0.3)


@pytest.fixture
def make_loop(tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """A function that builds a loop over a fresh network; loops of one ``name`` share their state folder."""

    def make(
        spec: TrainingSpec = SPEC,
        *,
        name: str = "run",
        should_stop: Callable[[], bool] = lambda: False,
        source: Callable[[BatchSource], BatchSource] = lambda source: source,
        model: nn.Module | None = None,
        held_out: HeldOut | None = None,
        **changes: Any,
    ) -> Loop:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        spec = spec.model_copy(update=changes)
        report = Reporter(folder / "events")
        reports.append(report)
        tensors = TensorSource(*samples(), spec.batch_size, 3, World())
        return Loop(
            model or network(), source(tensors), spec, seed=3, state=folder, report=report, should_stop=should_stop,
            world=World(), held_out=held_out,
        )  # fmt: skip

    reports: list[Reporter] = []
    yield make
    for report in reports:
        report.close()
