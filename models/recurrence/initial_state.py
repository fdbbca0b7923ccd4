"""The first state of VideoLSTM's networks: learned from the mean of a clip's features, or zero."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from models.parts.initial_weights import InitialWeights, uniform_
from models.parts.masking import at_least_float32, without_padding

InitialState = Literal["learned", "zero"]


class LearnedState(nn.Module):
    """Hidden state and cell as tanh of a convolution, or of a linear layer, of the mean over time.

    In the released code, not in the paper.

    Args:
        feature_dim: C.
        hidden: width of the state.
        kernel_size: of the convolution; None for a linear layer on vectors.
        initial_weights: see ``models.parts.initial_weights``.
    """

    def __init__(
        self, feature_dim: int, hidden: int, *, kernel_size: int | None, initial_weights: InitialWeights
    ) -> None:
        super().__init__()
        self.layer: nn.Module = (
            nn.Linear(feature_dim, 2 * hidden)
            if kernel_size is None
            else nn.Conv2d(feature_dim, 2 * hidden, kernel_size, padding=kernel_size // 2)
        )
        if initial_weights == "code":
            uniform_(self.layer, feature_dim if kernel_size is not None else hidden)

    def forward(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden state and cell of ``mean (N, H, W, C)`` or ``(N, C)``, with the width of the state last."""
        if mean.ndim == 2:
            hidden, cell = self.layer(mean).to(mean.dtype).tanh().chunk(2, -1)
            return hidden, cell
        maps = self.layer(mean.movedim(-1, 1)).movedim(1, -1)
        hidden, cell = maps.to(mean.dtype).tanh().chunk(2, -1)
        return hidden, cell


def zero_state(like: Tensor, hidden: int) -> tuple[Tensor, Tensor]:
    """Return zeros ``(..., hidden)`` for a mean ``like (..., C)``, twice."""
    zeros = like.new_zeros(*like.shape[:-1], hidden)
    return zeros, zeros


def mean_over_time(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of the valid steps of ``x (T, N, ...)``, masked by ``(N, T)``."""
    if mask is None:
        return x.mean(0)
    count = mask.sum(1).reshape(-1, *[1] * (x.ndim - 2))
    total = without_padding(x, mask.t()).sum(0, dtype=at_least_float32(x))
    return (total / count).to(x.dtype)


def map_state(
    channels: int, hidden: int, kernel_size: int, initial_state: InitialState, initial_weights: InitialWeights
) -> LearnedState | None:
    """Return what learns the first state from maps, or None for zeros."""
    if initial_state == "zero":
        return None
    return LearnedState(channels, hidden, kernel_size=kernel_size, initial_weights=initial_weights)


def vector_state(
    feature_dim: int, hidden: int, initial_state: InitialState, initial_weights: InitialWeights
) -> LearnedState | None:
    """Return what learns the first state from vectors, or None for zeros."""
    if initial_state == "zero":
        return None
    return LearnedState(feature_dim, hidden, kernel_size=None, initial_weights=initial_weights)


def first_state(initial: LearnedState | None, x: Tensor, mask: Tensor | None, hidden: int) -> tuple[Tensor, Tensor]:
    """Return hidden state and cell before the first step of ``x (T, N, ..., C)``, each ``(N, ..., hidden)``."""
    return zero_state(x[0], hidden) if initial is None else initial(mean_over_time(x, mask))
