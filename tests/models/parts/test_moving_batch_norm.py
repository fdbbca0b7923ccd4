"""Batch norm by moving statistics, beside PyTorch's own, which in training differs (Relational LSTM, section 5.2)."""

import pytest
import torch
from torch import nn

from models import backbones
from models.parts.moving_batch_norm import MovingBatchNorm2d, with_moving_statistics

N, C, H, W = 5, 4, 3, 2


def batch() -> torch.Tensor:
    return torch.randn(N, C, H, W, dtype=torch.float64) * 3 + 2


def norms(momentum: float = 0.001) -> tuple[MovingBatchNorm2d, nn.BatchNorm2d]:
    ours, theirs = MovingBatchNorm2d(C, momentum=momentum).double(), nn.BatchNorm2d(C, momentum=momentum).double()
    state = {name: torch.rand_like(value) + 0.5 for name, value in theirs.state_dict().items() if value.ndim}
    for norm in (ours, theirs):
        norm.load_state_dict(state, strict=False)
    return ours, theirs


def test_training_normalises_by_the_moving_figures() -> None:
    ours, theirs = norms()
    x = batch()
    expected = theirs.eval()(x)
    torch.testing.assert_close(ours.train()(x), expected)


def test_training_differs_from_pytorchs() -> None:
    ours, theirs = norms()
    x = batch()
    difference = (ours.train()(x) - theirs.train()(x)).abs().max().item()
    print(f"largest difference to nn.BatchNorm2d(momentum=0.001) in training: {difference:.2f} standard deviations")
    assert difference > 1


@pytest.mark.parametrize("momentum", [0.001, 0.0005, 0.1])
def test_the_moving_figures_are_pytorchs(momentum: float) -> None:
    ours, theirs = norms(momentum)
    for _ in range(3):
        x = batch()
        ours.train()(x)
        theirs.train()(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    assert ours.num_batches_tracked == 3


def test_the_test_is_pytorchs_and_changes_nothing() -> None:
    ours, theirs = norms()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    x = batch()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_gradient_passes_through_the_scale_alone() -> None:
    ours, _ = norms()
    x = batch().requires_grad_()
    ours.train()(x).sum().backward()
    scale = ours.weight / (torch.full((C,), 0.0, dtype=x.dtype) + 1)
    ratio = x.grad[0, :, 0, 0] / scale
    assert torch.equal(x.grad, x.grad[:1, :, :1, :1].expand_as(x.grad))
    assert (ratio > 0).all()
    assert ours.bias.grad.tolist() == [N * H * W] * C


def test_its_affine_form_is_the_same_and_updates_the_same() -> None:
    (ours, _), twin, x = norms(0.1), norms(0.1)[0], batch()
    twin.load_state_dict(ours.state_dict())
    mean, scale = ours.train().mean_and_scale(x)
    torch.testing.assert_close(
        (x - mean[:, None, None]) * scale[:, None, None] + ours.bias[:, None, None], twin.train()(x)
    )
    torch.testing.assert_close(ours.running_mean, twin.running_mean)
    torch.testing.assert_close(ours.running_var, twin.running_var)


def test_padding_has_no_part_in_the_figures() -> None:
    whole, _ = norms(0.1)
    part = MovingBatchNorm2d(C, momentum=0.1).double()
    part.load_state_dict(whole.state_dict())
    x, mask = batch(), torch.tensor([True, True, False, True, False])
    whole.train()(x.masked_fill(~mask[:, None, None, None], 1e6), mask)
    part.train()(x[mask])
    torch.testing.assert_close(whole.running_mean, part.running_mean)
    torch.testing.assert_close(whole.running_var, part.running_var)


def test_one_value_changes_only_the_mean() -> None:
    ours, _ = norms(0.1)
    mean, var = ours.running_mean.clone(), ours.running_var.clone()
    ours.train()(batch()[:1, :, :1, :1])
    assert not torch.equal(ours.running_mean, mean)
    torch.testing.assert_close(ours.running_var, var)


def test_a_network_is_converted_with_its_weights_and_names() -> None:
    network = backbones.build("tiny")
    x = torch.randn(2, 3, 64, 64)
    expected, names = network.eval()(x), list(network.state_dict())
    converted = with_moving_statistics(network, 0.0005)
    assert list(converted.state_dict()) == names
    torch.testing.assert_close(converted.train()(x), expected)
    found = [layer for layer in converted.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(found) == 4
    assert all(isinstance(layer, MovingBatchNorm2d) and layer.step_share == 0.0005 for layer in found)


def test_timms_batch_norms_keep_the_activation_inside_them() -> None:
    network = backbones.build("timm:resnetv2_50").network.stages[0].blocks[0]
    x = torch.randn(2, 64, 8, 8)
    expected, names = network.eval()(x), list(network.state_dict())
    converted = with_moving_statistics(network)
    assert list(converted.state_dict()) == names
    torch.testing.assert_close(converted.train()(x), expected)
