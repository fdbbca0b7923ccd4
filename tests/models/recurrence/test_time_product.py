"""One weight at every step: the same products and the same gradients as plain layers have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.recurrence.time_product import TimeProduct

STEPS = 3


def plain(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    return functional.conv2d(x.movedim(-1, 1), weight, bias, padding=weight.shape[-1] // 2).movedim(1, -1)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 1, 1), (4, 2, 3, 3)])
def test_products_and_gradients_are_those_of_plain_layers(shape: tuple[int, ...]) -> None:
    weight, bias = torch.randn(shape, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    x = torch.randn(STEPS, 2, 3, 3, 2, dtype=torch.float64)
    found, expected = [], []
    for outputs, steps in ((expected, False), (found, True)):
        leaves = [value.clone().requires_grad_() for value in (weight, bias, x)]
        product = TimeProduct(leaves[0], leaves[1], steps=STEPS)
        made = [product(step) if steps else plain(leaves[0], leaves[1], step) for step in leaves[2]]
        total = torch.stack(made)
        outputs += [total.detach(), *torch.autograd.grad(total.square().sum(), leaves)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_an_addend_is_added_and_has_its_gradient() -> None:
    weight = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    addend = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    x = torch.randn(5, 2, dtype=torch.float64)
    out = TimeProduct(weight)(x, addend)
    torch.testing.assert_close(out, x @ weight.t() + addend)
    out.sum().backward()
    torch.testing.assert_close(addend.grad, torch.ones_like(addend))
