"""The processes that train one model together: started by ``torchrun``, one for each GPU, or this process alone.

Batches are dealt out, gradients averaged, the first process writes. Batch norm keeps each process's own statistics, as
``DistributedDataParallel`` does, and dropout and random steps are drawn by each; every other number equals that of one
process with the whole batch, up to rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """This process among all.

    Attributes:
        rank: its number, from 0.
        size: number of processes.
        control: a group over the processors' memory, which makes decisions without waiting for a GPU.
    """

    rank: int = 0
    size: int = 1
    control: distributed.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return this process's samples of a batch."""
        return batch[self.rank :: self.size]

    def agree(self, wish: bool) -> bool:
        """Return whether any process wishes it; all must ask at the same step."""
        if self.size == 1:
            return wish
        flag = torch.tensor([int(wish)])
        distributed.all_reduce(flag, distributed.ReduceOp.MAX, group=self.control)
        return bool(flag.item())

    def meet(self) -> None:
        """Wait until every process has come here."""
        self.agree(False)

    def least(self, number: int) -> int:
        """Return the smallest number of all processes; all must ask at the same step."""
        if self.size == 1:
            return number
        found = torch.tensor([number])
        distributed.all_reduce(found, distributed.ReduceOp.MIN, group=self.control)
        return int(found.item())

    def average(self, values: Sequence[Tensor]) -> None:
        """Replace values by their means over all processes."""
        if self.size > 1:
            for value in values:
                distributed.all_reduce(value)
                value.div_(self.size)

    def give(self, values: Sequence[Tensor]) -> None:
        """Replace values by those of the leading process."""
        if self.size > 1:
            for value in values:
                distributed.broadcast(value, 0)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of all processes' values."""
        if self.size == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total


@contextmanager
def joined(device: torch.device) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, by NCCL on GPUs and Gloo on processors; leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        control = distributed.new_group(backend="gloo")
        assert isinstance(control, distributed.ProcessGroup)  # every process is in it
        yield World(distributed.get_rank(), size, control)
    finally:
        distributed.destroy_process_group()


def wrap(model: nn.Module, world: World, device: torch.device) -> nn.Module:
    """Return a model whose backward pass averages gradients over all processes."""
    if world.size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
