"""What a step's attention weighs: products that are kept where they fit into memory, and else taken once more."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from models.recurrence import attended_product
from models.recurrence.attended_product import BLOCK_ROWS, AttendedProduct
from models.recurrence.free_memory import free_bytes
from tests.models.test_attention_networks import build, features_of

T, N, H, W, C, OUT = 7, 3, 9, 9, 2, 4
PRODUCTS = T * N * H * W * 9 * OUT * 8
"""Bytes of all products in float64."""
BUDGETS = [0, PRODUCTS - 1, PRODUCTS, 2**40]


class Run:
    """One pass over the steps, forward and backward."""

    def __init__(self, budget: int | None, *, size: int = 3, dtype: torch.dtype = torch.float64) -> None:
        draw = torch.Generator().manual_seed(0)
        self.weight = torch.randn(OUT, C, size, size, generator=draw, dtype=dtype).requires_grad_()
        self.x = torch.randn(T, N, H, W, C, generator=draw, dtype=dtype).requires_grad_()
        self.shares = torch.rand(T, N, H, W, generator=draw, dtype=dtype).requires_grad_()
        self.budget = budget

    def forward(self) -> Tensor:
        product = AttendedProduct(self.weight, self.x, budget=self.budget)
        return torch.stack([product(step, shares) for step, shares in enumerate(self.shares.unbind(0))])

    def gradients(self) -> tuple[Tensor, ...]:
        directions = torch.linspace(-1, 2, T * N * H * W * OUT, dtype=self.x.dtype).view(T, N, H, W, OUT)
        return torch.autograd.grad((self.forward() * directions).sum(), [self.weight, self.x, self.shares])


def reference(run: Run) -> Tensor:
    maps = (run.shares[..., None] * run.x).flatten(0, 1).permute(0, 3, 1, 2)
    return conv2d(maps, run.weight, padding="same").permute(0, 2, 3, 1).view(T, N, H, W, OUT)


@contextmanager
def saved_bytes() -> Iterator[list[int]]:
    """Yield a list that, at the end, holds the bytes of what was saved for the backward pass, each storage once."""
    kept: dict[int, Tensor] = {}
    found: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
    found.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))


def test_the_steps_are_multiplied_in_more_than_one_block_of_more_than_one_step() -> None:
    assert N * H * W < BLOCK_ROWS < T * N * H * W


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("budget", [0, 2**40])
def test_it_is_the_convolution_of_the_weighted_maps(budget: int, size: int) -> None:
    run = Run(budget, size=size)
    torch.testing.assert_close(run.forward(), reference(run), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_budget_changes_a_bit_of_the_result(dtype: torch.dtype) -> None:
    expected = Run(2**40, dtype=dtype).forward()
    for budget in (*BUDGETS, None):
        assert torch.equal(Run(budget, dtype=dtype).forward(), expected)
    with torch.no_grad():
        assert torch.equal(Run(0, dtype=dtype).forward(), expected)


@pytest.mark.parametrize("budget", [*BUDGETS, None])
def test_gradients_are_the_same_for_every_budget(budget: int | None) -> None:
    for found, expected in zip(Run(budget).gradients(), Run(2**40).gradients(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("budget", [0, 2**40])
def test_second_derivatives_equal_differences(budget: int) -> None:
    run = Run(budget)

    def first_step(weight: Tensor, x: Tensor, shares: Tensor) -> Tensor:
        return AttendedProduct(weight, x, budget=budget)(0, shares)

    inputs = (run.weight, run.x[:1].detach().requires_grad_(), run.shares[0].detach().requires_grad_())
    assert torch.autograd.gradgradcheck(first_step, inputs, fast_mode=True)


def test_the_budget_says_whether_the_products_are_kept() -> None:
    found = []
    for budget in BUDGETS:
        with saved_bytes() as saved:
            result = Run(budget).forward()
        assert result.requires_grad
        found += saved
    over, just_over, just_within, within = found
    assert over == just_over
    assert just_within == within
    assert within - over == PRODUCTS


@pytest.mark.parametrize("kind", ["conv_alstm", "video_lstm"])
def test_a_forward_pass_asks_once_for_the_free_memory_and_one_without_gradients_never(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(device: torch.device) -> int:
        asked.append(device)
        return free_bytes(device)

    monkeypatch.setattr(attended_product, "free_bytes", counted)
    network = build(kind)
    network(features_of(kind, steps=9))
    assert len(asked) == 1
    with torch.no_grad():
        network(features_of(kind, steps=9))
    assert len(asked) == 1


def test_free_memory_of_a_processor_is_less_than_it_has() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < free_bytes(torch.device("cpu")) < total


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_free_memory_of_a_gpu_counts_what_pytorch_holds_unused() -> None:
    device = torch.device("cuda")
    taken = torch.empty(2**30, dtype=torch.uint8, device=device)
    used = free_bytes(device)
    del taken
    assert free_bytes(device) >= used + 2**30
