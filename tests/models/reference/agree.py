"""Comparison of a network with its reference: outputs and gradients of every weight and input, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models import Output
from tests.models.reference.elements import Weights

Features = Tensor | dict[str, Tensor]
Reference = Callable[..., Any]

RTOL, ATOL = 1e-9, 1e-12


def randomise(network: nn.Module, low: float = -0.5, high: float = 0.5) -> nn.Module:
    """Draw every weight and statistic anew, in float64, and set evaluation mode."""
    network.double().eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.3, 2.0)
        elif value.is_floating_point():
            value.uniform_(low, high)
    return network


def agree(network: nn.Module, reference: Reference, features: Features, lengths: Sequence[int] | None = None) -> None:
    """Assert that logits, attention and gradients equal the reference's, video by video.

    Args:
        network: in evaluation mode.
        reference: takes weights by name and one video's features, stream by stream; returns logits, or logits and
            attention.
        features: ``(N, T, ...)``, or such by stream.
        lengths: valid steps of each video; None for all.
    """
    ours, theirs = _leaves(features), _leaves(features)
    weights = _weights(network)
    steps = next(iter(ours.values())).shape[1]
    mask = None if lengths is None else torch.arange(steps) < torch.tensor(lengths)[:, None]
    output: Output = network(ours.get("", ours), mask)
    ours_total = theirs_total = torch.zeros((), dtype=torch.float64)
    for video, length in enumerate(lengths or [steps] * len(output.logits)):
        found = reference(weights, *(stream[video, :length] for stream in theirs.values()))
        logits, attention = found if isinstance(found, tuple) else (found, None)
        own = output.logits[video] if output.logits.ndim == 2 else output.logits[video, :length]
        torch.testing.assert_close(own, logits, rtol=RTOL, atol=ATOL)
        directions = torch.linspace(-1.0, 2.0, logits.numel(), dtype=torch.float64).view(logits.shape)
        ours_total, theirs_total = ours_total + (own * directions).sum(), theirs_total + (logits * directions).sum()
        if attention is not None:
            assert output.attention is not None
            torch.testing.assert_close(output.attention[video, :length], attention, rtol=RTOL, atol=ATOL)
            directions = torch.linspace(-9.0, 7.0, attention.numel(), dtype=torch.float64).view(attention.shape)
            ours_total = ours_total + (output.attention[video, :length] * directions).sum()
            theirs_total = theirs_total + (attention * directions).sum()
    ours_total.backward()
    theirs_total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        _assert_gradients_close(parameter.grad, weights[name].grad, name)
    for name, value in ours.items():
        assert value.grad is not None, name
        assert value.grad.any(), f"features {name} have no part in the answer: every ReLU is dead"
        _assert_gradients_close(value.grad, theirs[name].grad, f"features {name}")


def _leaves(features: Features) -> dict[str, Tensor]:
    named = features if isinstance(features, dict) else {"": features}
    return {name: value.detach().clone().requires_grad_() for name, value in named.items()}


def _weights(network: nn.Module) -> Weights:
    trained = dict(network.named_parameters())
    return {
        name: value.detach().clone().requires_grad_(name in trained) for name, value in network.state_dict().items()
    }


def _assert_gradients_close(ours: Tensor | None, theirs: Tensor | None, name: str) -> None:
    assert ours is not None or theirs is not None, name
    actual = torch.zeros_like(theirs) if ours is None else ours
    expected = torch.zeros_like(actual) if theirs is None else theirs
    # Relative to the tensor's largest: an element may be a difference of large ones, and some are exactly 0.
    atol = max(RTOL * float(expected.abs().max()), ATOL)
    torch.testing.assert_close(actual, expected, rtol=RTOL, atol=atol, msg=lambda text: f"{name}: {text}")
