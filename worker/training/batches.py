"""Batches of an epoch: an order that is a pure function of seed and epoch, cut into batches and dealt to processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from worker.training.distributed import World

Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """One process's part of a batch.

    Attributes:
        inputs: ``(n, ...)``.
        labels: ``(n,)`` int64.
        size: samples of the whole batch, over all processes.
    """

    inputs: Tensor
    labels: Tensor
    size: int


class Source(Protocol):
    """Training samples as batches."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on; equal arguments give equal batches."""


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int, world_size: int = 1) -> list[Indices]:
    """Shuffle ``count`` samples and cut them into batches.

    A last batch with fewer than two samples for each process joins the one before it, since batch norm needs two.

    Args:
        count: number of samples.
        batch_size: samples of a batch over all processes.
        seed: of the experiment.
        epoch: counted from 1.
        world_size: number of processes.

    Returns:
        Sample numbers of each batch, every sample once.
    """
    order = np.random.default_rng((seed, epoch)).permutation(count)
    return np.split(order, _starts(count, batch_size, world_size)[1:])


def _starts(count: int, batch_size: int, world_size: int) -> list[int]:
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] < 2 * world_size:
        starts.pop()
    return starts


class TensorSource:
    """Samples that lie in memory as one tensor, sliced into batches without a copy through workers.

    Args:
        inputs: ``(M, ...)``, on the device that trains.
        labels: ``(M,)`` int64, on the same device.
        batch_size: samples of a batch over all processes.
        seed: fixes the order of every epoch.
        world: this process among all.
    """

    def __init__(self, inputs: Tensor, labels: Tensor, batch_size: int, seed: int, world: World) -> None:
        self._inputs, self._labels = inputs, labels
        self._batch_size, self._seed, self._world = batch_size, seed, world

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(_starts(len(self._labels), self._batch_size, self._world.size))

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on."""
        for whole in self._cut(epoch)[first_step:]:
            own = torch.from_numpy(self._world.share(whole)).to(self._inputs.device)
            yield Batch(self._inputs[own], self._labels[own], len(whole))

    def _cut(self, epoch: int) -> list[Indices]:
        return epoch_batches(len(self._labels), self._batch_size, self._seed, epoch, self._world.size)


class EpochDataset(Protocol):
    """Samples that are drawn anew in every epoch, such as random frames of clips."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return an input and its label."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Draw other samples from now on, in loader processes too."""


class DatasetSource:
    """Samples that are read and transformed one by one, in this process or in loader processes.

    Args:
        dataset: the training samples; what item ``i`` of an epoch is must depend on nothing else.
        batch_size: samples of a batch over all processes that train.
        seed: fixes the order of every epoch.
        world: this process among those that train.
        num_workers: loader processes; 0 reads in this one.
        pin_memory: page-lock batches, for a faster copy to a GPU.
    """

    def __init__(
        self,
        dataset: EpochDataset,
        batch_size: int,
        seed: int,
        world: World,
        *,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._dataset, self._batch_size, self._seed, self._world = dataset, batch_size, seed, world
        self._order = _Order()
        self._loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            cast("Dataset[tuple[Tensor, int]]", dataset),
            batch_sampler=self._order,
            num_workers=num_workers,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
        )

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(_starts(len(self._dataset), self._batch_size, self._world.size))

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on."""
        whole = self._cut(epoch)[first_step:]
        self._dataset.set_epoch(epoch)
        self._order.batches = [self._world.share(batch).tolist() for batch in whole]
        for batch, (inputs, labels) in zip(whole, self._loader, strict=True):
            yield Batch(inputs, labels, len(batch))

    def _cut(self, epoch: int) -> list[Indices]:
        return epoch_batches(len(self._dataset), self._batch_size, self._seed, epoch, self._world.size)


class _Order(Sampler[list[int]]):
    """The batches of the epoch under way, handed to a loader that lives longer."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)
