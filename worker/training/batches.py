"""Batches of an epoch: an order that is a pure function of seed and epoch, cut into batches and dealt to processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from services.specs import BATCH_NORM_SAMPLES
from worker.training.distributed import World
from worker.training.loader import Items, Loader

Indices = NDArray[np.int64]


Inputs = Tensor | dict[str, Tensor]
"""What a network takes: a tensor ``(n, ...)``, or one for each stream."""


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Return inputs on a device."""
    if isinstance(inputs, dict):
        return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}
    return inputs.to(device, non_blocking=True)


class Batch(NamedTuple):
    """One process's part of a batch.

    Attributes:
        inputs: ``(n, ...)``, or such a tensor for each stream.
        labels: ``(n,)`` int64.
        size: samples of the whole batch, over all processes.
    """

    inputs: Inputs
    labels: Tensor
    size: int


class BatchSource(Protocol):
    """Training samples as batches."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on; equal arguments give equal batches."""


def epoch_batches(count: int, batch_size: int, seed: int, epoch: int, world_size: int = 1) -> list[Indices]:
    """Shuffle ``count`` samples and cut them into batches.

    A last batch that is too small for batch norm in each process joins the one before it.

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
    if len(starts) > 1 and count - starts[-1] < BATCH_NORM_SAMPLES * world_size:
        starts.pop()
    return starts


class TensorSource:
    """Samples that lie in memory, sliced into batches without a copy through workers.

    Args:
        inputs: ``(M, ...)``, or such a tensor for each stream, on the device that trains.
        labels: ``(M,)`` int64, on the same device.
        batch_size: samples of a batch over all processes.
        seed: fixes the order of every epoch.
        world: this process among all.
    """

    def __init__(self, inputs: Inputs, labels: Tensor, batch_size: int, seed: int, world: World) -> None:
        self._inputs, self._labels = inputs, labels
        self._batch_size, self._seed, self._world = batch_size, seed, world

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(_starts(len(self._labels), self._batch_size, self._world.size))

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on."""
        for whole in self._cut(epoch)[first_step:]:
            own = torch.from_numpy(self._world.share(whole)).to(self._labels.device)
            yield Batch(self._rows(own), self._labels[own], len(whole))

    def _rows(self, own: Tensor) -> Inputs:
        if isinstance(self._inputs, dict):
            return {name: values[own] for name, values in self._inputs.items()}
        return self._inputs[own]

    def _cut(self, epoch: int) -> list[Indices]:
        return epoch_batches(len(self._labels), self._batch_size, self._seed, epoch, self._world.size)


class ClipFeatures(Protocol):
    """Features of clips that lie on disk.

    Attributes:
        lengths: steps of each clip, ``(M,)``.
    """

    lengths: Indices

    def take(self, clips: Indices, steps: Indices | None = None) -> Inputs:
        """Read clips ``(n,)`` at steps ``(n, T)``, or at all."""
        ...


class FeatureSource:
    """Features that are read batch by batch, the next one while the one before is trained on.

    Args:
        features: of M clips.
        labels: ``(M,)`` int64.
        batch_size: samples of a batch over all processes.
        seed: fixes the order of every epoch, and the snippets.
        world: this process among all.
        choose: draws the steps ``(T,)`` of a clip of so many steps, with a generator of (seed, epoch, clip); None takes
            all steps.
    """

    def __init__(
        self,
        features: ClipFeatures,
        labels: Tensor,
        batch_size: int,
        seed: int,
        world: World,
        *,
        choose: Callable[[int, np.random.Generator], Indices] | None = None,
    ) -> None:
        self._features, self._labels, self._choose = features, labels, choose
        self._batch_size, self._seed, self._world = batch_size, seed, world

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return len(_starts(len(self._labels), self._batch_size, self._world.size))

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from a step (counted from 0) on."""
        cut = epoch_batches(len(self._labels), self._batch_size, self._seed, epoch, self._world.size)[first_step:]
        with ThreadPoolExecutor(1) as reader:
            read = [reader.submit(self._read, epoch, whole) for whole in cut[:1]]
            for place in range(len(cut)):
                batch = read.pop().result()
                read = [reader.submit(self._read, epoch, whole) for whole in cut[place + 1 : place + 2]]
                yield batch

    def _read(self, epoch: int, whole: Indices) -> Batch:
        own = self._world.share(whole)
        inputs = self._features.take(own, self._chosen(epoch, own))
        return Batch(inputs, self._labels[torch.from_numpy(own)], len(whole))

    def _chosen(self, epoch: int, clips: Indices) -> Indices | None:
        if self._choose is None:
            return None
        generators = [np.random.default_rng((self._seed, epoch, int(clip))) for clip in clips]
        lengths = self._features.lengths[clips].tolist()
        return np.stack([self._choose(length, rng) for length, rng in zip(lengths, generators, strict=True)])


class EpochDataset(Protocol):
    """Samples that are drawn anew in every epoch, such as random frames of clips."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Return bytes, the changes that `finish` makes of them, and the label."""
        ...

    def finish(self, frames: Tensor, colours: Tensor, out: Tensor | None) -> Tensor:
        """Return the inputs of a batch ``(n, ...)``, float32 of the shape of its bytes; ``out`` takes them."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Draw other samples from now on, in loader processes too."""


class DatasetSource:
    """Samples that are read one by one as bytes, in this process or in loader processes, and finished on a device.

    All batches are finished into the same memory: one holds until the next is asked for.

    Args:
        dataset: the training samples; what item ``i`` of an epoch is must depend on nothing else.
        batch_size: samples of a batch over all processes that train.
        seed: fixes the order of every epoch.
        world: this process among those that train.
        device: that trains.
        num_workers: loader processes; 0 reads in this one.
    """

    def __init__(
        self,
        dataset: EpochDataset,
        batch_size: int,
        seed: int,
        world: World,
        *,
        device: torch.device,
        num_workers: int = 0,
    ) -> None:
        self._dataset, self._batch_size, self._seed, self._world = dataset, batch_size, seed, world
        self._device, self._inputs = device, torch.empty(0, device=device)
        self._order = _Order()
        self._loader: Loader[tuple[Tensor, Tensor, Tensor]] = Loader(
            cast("Items[tuple[Tensor, Tensor, Tensor]]", dataset),  # labels come as batches do
            batch_sampler=self._order,
            num_workers=num_workers,
            pin_memory=device.type != "cpu",  # page-locked: copied to a GPU while it computes
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
        for batch, (frames, colours, labels) in zip(whole, self._loader, strict=True):
            yield Batch(self._finish(frames, colours), labels, len(batch))

    def _finish(self, frames: Tensor, colours: Tensor) -> Tensor:
        if self._inputs.numel() < frames.numel():
            self._inputs = torch.empty(frames.numel(), device=self._device)
        out = self._inputs[: frames.numel()].view(frames.shape)
        frames, colours = (every.to(self._device, non_blocking=True) for every in (frames, colours))
        return self._dataset.finish(frames, colours, out)

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
