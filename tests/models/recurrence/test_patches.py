"""A convolution is a product of patches with a matrix, and its gradient a product folded back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.recurrence.patches import fold, kernel, kernel_matrix, patches


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_product_of_patches_is_a_convolution(size: int) -> None:
    x, weight = torch.randn(2, 4, 5, 3, dtype=torch.float64), torch.randn(6, 3, size, size, dtype=torch.float64)
    expected = functional.conv2d(x.movedim(-1, 1), weight, padding=size // 2).movedim(1, -1)
    found = (patches(x, size) @ kernel_matrix(weight).t()).view(2, 4, 5, 6)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [1, 3])
def test_folding_is_the_gradient_of_cutting(size: int) -> None:
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(2 * 4 * 5, size * size * 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((patches(x, size) * rows).sum(), x)
    torch.testing.assert_close(fold(rows, x.shape, size), gradient)


def test_a_kernel_becomes_a_matrix_without_a_copy() -> None:
    weight = kernel(6, 3, 3)
    assert weight.shape == (6, 3, 3, 3)
    assert kernel_matrix(weight).data_ptr() == weight.data_ptr()
