"""How the released code of TS-LSTM and of VideoLSTM draws first weights; the papers do not say."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

UNIFORM = 0.1  # TS-LSTM's code: the bound of every weight, scales of batch norms too
InitialWeights = Literal["code", "pytorch"]
"""``code``: as the released code, biases 0; ``pytorch``: uniform within 1 / sqrt(fan-in), as PyTorch's own layers."""


def uniform_(layer: nn.Module, divisor: int) -> None:
    """Draw a layer's weight uniformly within 1 / sqrt(divisor), and set its bias to 0."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    nn.init.uniform_(weight, -(divisor**-0.5), divisor**-0.5)
    nn.init.zeros_(bias)


def draw_(weight: Tensor, initial_weights: InitialWeights, *, kernel: bool) -> None:
    """Draw a weight of a gate or of attention: a matrix ``(O, C)`` or a kernel ``(O, C, size, size)``.

    The code draws uniformly within 1 / sqrt(shape[1]) of its own layout, which is C of a kernel but O of a 1x1 kernel
    that it keeps as a matrix; matrices of vector LSTMs come from the normal distribution of deviation 0.1.
    """
    if initial_weights == "code" and not kernel:
        nn.init.normal_(weight, std=0.1)
        return
    fan_in = weight[0].numel()
    bound = (fan_in if initial_weights == "pytorch" else weight.shape[weight.ndim == 4]) ** -0.5
    nn.init.uniform_(weight, -bound, bound)


def draw_all_(network: nn.Module, initial_weights: InitialWeights) -> None:
    """Draw every weight as TS-LSTM's code does, uniform(-0.1, 0.1), or leave them as PyTorch drew them."""
    if initial_weights == "code":
        for parameter in network.parameters():
            nn.init.uniform_(parameter, -UNIFORM, UNIFORM)
