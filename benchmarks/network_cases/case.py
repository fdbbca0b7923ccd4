"""One network at its paper's size, beside its straightforward form and the floor of its bare products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

Inputs = Tensor | Mapping[str, Tensor]


class Product(NamedTuple):
    """``times`` matrix products of ``(rows, inner)`` by ``(inner, columns)``."""

    times: int
    rows: int
    inner: int
    columns: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.times * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class Parts:
    """What is timed.

    Attributes:
        network: ours, in training mode; its ``logits`` are summed for the backward pass.
        inputs: its features.
        straightforward: maps the inputs to logits with the network's own weights, equation by equation.
        products: the products that forward and backward pass cannot do without.
    """

    network: nn.Module
    inputs: Inputs
    straightforward: Callable[[Inputs], Tensor]
    products: Sequence[Product]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: of the kind.
        size: in words, without the batch.
        batch: on a processor, reduced so that it takes seconds; the paper's is ``gpu_batch``.
        goal: how many times as fast as the straightforward form it is to be; None where no goal is set.
        make: builds the parts for a batch on a device.
    """

    name: str
    size: str
    batch: int
    gpu_batch: int
    goal: float | None
    make: Callable[[int, torch.device], Parts]


def run_products(products: Sequence[Product], device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    """Return what does the bare products, on operands that lie ready."""
    operands = [
        (p.times, torch.randn(p.rows, p.inner, device=device), torch.randn(p.inner, p.columns, device=device))
        for p in products
    ]
    ready = [(times, left.to(dtype), right.to(dtype)) for times, left, right in operands]

    def run() -> None:
        for times, left, right in ready:
            for _ in range(times):
                left @ right

    return run
