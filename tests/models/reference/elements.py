"""What the equations of several papers are made of: loops over positions, taps and gates, one video at a time."""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def convolve(kernel: Tensor, image: Tensor) -> Tensor:
    """Return ``(O, H, W)``: the sum over taps of kernel ``(O, C, k, k)`` times image ``(C, H, W)``, zeros outside."""
    _, height, width = image.shape
    reach = kernel.shape[-1] // 2
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            total = torch.zeros(len(kernel), dtype=image.dtype)
            for a in range(-reach, reach + 1):
                for b in range(-reach, reach + 1):
                    if 0 <= i + a < height and 0 <= j + b < width:
                        total = total + kernel[:, :, a + reach, b + reach] @ image[:, i + a, j + b]
            row.append(total)
        rows.append(torch.stack(row, 1))
    return torch.stack(rows, 1)


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(scores: list[Tensor]) -> list[Tensor]:
    """Eq. 8 of VideoLSTM."""
    exponentials = [torch.exp(score) for score in scores]
    total = exponentials[0]
    for exponential in exponentials[1:]:
        total = total + exponential
    return [exponential / total for exponential in exponentials]


def gates(weight: Tensor) -> dict[str, Tensor]:
    """Cut what one parameter holds of the four gates: input, forget, output, candidate (VideoLSTM, eqs. 1 to 4)."""
    size = len(weight) // 4
    return {name: weight[n * size : (n + 1) * size] for n, name in enumerate("ifoc")}


def add_bias(maps: Tensor, bias: Tensor) -> Tensor:
    return maps + bias[:, None, None] if maps.ndim == 3 else maps + bias


def update(pre: dict[str, Tensor], cell: Tensor) -> tuple[Tensor, Tensor]:
    """VideoLSTM, eqs. 1 to 6 (and 10 to 15), from the gates' sums."""
    i, f, o = sigmoid(pre["i"]), sigmoid(pre["f"]), sigmoid(pre["o"])  # eqs. 1 to 3
    g = torch.tanh(pre["c"])  # eq. 4
    cell = f * cell + i * g  # eq. 5
    return o * torch.tanh(cell), cell  # eq. 6


def mean(steps: list[Tensor]) -> Tensor:
    total = steps[0]
    for step in steps[1:]:
        total = total + step
    return total / len(steps)


def initial(weights: Weights, prefix: str, features: list[Tensor], zero: Tensor) -> tuple[Tensor, Tensor]:
    """The released code's first state, tanh of a convolution or product of the mean over time; or zeros."""
    if f"{prefix}.layer.weight" not in weights:
        return zero, zero
    weight, bias = weights[f"{prefix}.layer.weight"], weights[f"{prefix}.layer.bias"]
    average = mean(features)
    product = convolve(weight, average) if average.ndim == 3 else weight @ average
    state = torch.tanh(add_bias(product, bias))
    return state[: len(state) // 2], state[len(state) // 2 :]


def positions(image: Tensor) -> list[Tensor]:
    """Return the vectors of an image ``(C, H, W)``, row by row."""
    return [image[:, i, j] for i in range(image.shape[1]) for j in range(image.shape[2])]


def classify(weights: Weights, vector: Tensor) -> Tensor:
    """VideoLSTM, section 5.2: a tanh layer, then the classifier; dropout does nothing at test time."""
    hidden = torch.tanh(weights["classifier.fc.weight"] @ vector + weights["classifier.fc.bias"])
    return weights["classifier.classifier.weight"] @ hidden + weights["classifier.classifier.bias"]


def normalised(vector: Tensor, weights: Weights, name: str, group: int | None = None) -> Tensor:
    """Batch norm by running statistics."""
    parts = [weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    average, variance, scale, shift = parts if group is None else [part[group] for part in parts]
    return (vector - average) / torch.sqrt(variance + 1e-5) * scale + shift
