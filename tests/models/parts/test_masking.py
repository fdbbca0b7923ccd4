"""Padding may hold anything: it has no part in lengths, pooling and gradients."""

from __future__ import annotations

import pytest
import torch

from models.parts.masking import Pooling, lengths_of, pool, without_padding

LENGTHS = torch.tensor([4, 1, 3])
MASK = torch.arange(4) < LENGTHS[:, None]


def test_lengths_are_those_of_a_prefix() -> None:
    assert torch.equal(lengths_of(MASK), LENGTHS)


@pytest.mark.parametrize("row", [[False, False], [False, True]])
def test_a_clip_without_a_step_or_with_padding_before_one_is_refused(row: list[bool]) -> None:
    with pytest.raises(ValueError, match="mask: "):
        lengths_of(torch.tensor([[True, True], row]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_padding_becomes_zeros_and_gives_no_gradient(value: float) -> None:
    x = torch.randn(3, 4, 2).masked_fill(~MASK[..., None], value).requires_grad_()
    filled = without_padding(x, MASK)
    assert torch.equal(filled[MASK], x[MASK])
    assert not filled[~MASK].any()
    filled.square().sum().backward()
    assert x.grad is not None
    assert not x.grad[~MASK].any()
    assert without_padding(x, None) is x


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_sees_each_clip_as_if_it_were_alone(pooling: Pooling) -> None:
    x = torch.randn(3, 4, 2).masked_fill(~MASK[..., None], float("nan"))
    pooled = pool(x, pooling, MASK)
    for clip, length, found in zip(x, LENGTHS.tolist(), pooled, strict=True):
        torch.testing.assert_close(found, pool(clip[:length], pooling))
