"""One kernel call for all steps equals PyTorch's batch norm called step by step."""

import pytest
import torch
from torch import Tensor, nn

from models.parts.batch_norm import StepBatchNorm

N, S, T, D = 5, 3, 4, 6


def step_by_step(x: Tensor, groups: int) -> tuple[Tensor, list[nn.BatchNorm1d]]:
    norms = [nn.BatchNorm1d(D, dtype=x.dtype) for _ in range(groups)]
    rows = [torch.stack([norms[s % groups](x[:, s, t]) for t in range(T)], 1) for s in range(S)]
    return torch.stack(rows, 1), norms


@pytest.mark.parametrize("groups", [1, S])
def test_training_equals_a_call_for_each_step(groups: int) -> None:
    x = torch.randn(N, S, T, D, dtype=torch.float64) * 3 + 1
    ours_in, theirs_in = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours = StepBatchNorm(D, groups).double()
    out = ours(ours_in)
    expected, norms = step_by_step(theirs_in, groups)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(ours.running_mean, torch.stack([norm.running_mean for norm in norms]))
    torch.testing.assert_close(ours.running_var, torch.stack([norm.running_var for norm in norms]))
    weights = torch.randn_like(out)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad)
    torch.testing.assert_close(ours.weight.grad, torch.stack([norm.weight.grad for norm in norms]))
    torch.testing.assert_close(ours.bias.grad, torch.stack([norm.bias.grad for norm in norms]))


@pytest.mark.parametrize("groups", [1, S])
def test_a_mask_without_padding_changes_nothing(groups: int) -> None:
    x = torch.randn(N, S, T, D, dtype=torch.float64)
    dense, masked = StepBatchNorm(D, groups).double(), StepBatchNorm(D, groups).double()
    torch.testing.assert_close(masked(x, torch.ones(N, S, T, dtype=torch.bool)), dense(x))
    torch.testing.assert_close(masked.running_mean, dense.running_mean)
    torch.testing.assert_close(masked.running_var, dense.running_var)


def test_padding_has_no_part_in_the_statistics() -> None:
    x = torch.randn(N, S, T, D, dtype=torch.float64)
    mask = torch.ones(N, S, T, dtype=torch.bool)
    mask[3:] = False
    x[3:] = 1e6
    whole, part = StepBatchNorm(D, S).double(), StepBatchNorm(D, S).double()
    torch.testing.assert_close(whole(x, mask)[:3], part(x[:3]))
    torch.testing.assert_close(whole.running_var, part.running_var)


def test_a_step_with_one_valid_sample_uses_running_statistics_and_leaves_them() -> None:
    norm = StepBatchNorm(D)
    x = torch.randn(N, 1, 1, D)
    mask = torch.zeros(N, 1, 1, dtype=torch.bool)
    mask[0] = True
    torch.testing.assert_close(norm(x, mask)[0], x[0] / (1 + norm.eps) ** 0.5)
    assert torch.equal(norm.running_mean, torch.zeros(1, D))
    assert torch.equal(norm.running_var, torch.ones(1, D))


def test_evaluation_uses_running_statistics() -> None:
    norm = StepBatchNorm(D, S).eval()
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    x = torch.randn(1, S, T, D)
    torch.testing.assert_close(norm(x), (x - 2) / (4 + norm.eps) ** 0.5)


def test_a_batch_of_one_cannot_train() -> None:
    with pytest.raises(ValueError, match="more than 1 value"):
        StepBatchNorm(D)(torch.randn(1, 1, 1, D))
