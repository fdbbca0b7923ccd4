"""Generalised non-local operations in place of an LSTM's products (Relational LSTM, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.masking import at_least_float32, without_padding
from models.parts.moving_batch_norm import MOMENTUM, MovingBatchNorm2d
from models.parts.transforms import first_order, transformed

FUSED_KERNELS: tuple[Callable[[], bool], ...] = (
    torch.backends.cuda.flash_sdp_enabled,
    torch.backends.cuda.mem_efficient_sdp_enabled,
    torch.backends.cuda.cudnn_sdp_enabled,
)
NO_SECOND_DERIVATIVE = (
    "relational_lstm: second derivatives (create_graph=True) do not go through fused attention;"
    " hint: run the forward pass inside torch.nn.attention.sdpa_kernel(SDPBackend.MATH)"
)
GATES = 4  # i, f, o, g, in this order (equation 3)


class RelationalModule(nn.Module):
    """Batch norm, Relational LSTM over the positions of each step, 1x1 convolution of the last state.

    Equation 3 sums, in every gate, r_x(X_t, X_t) and r_h(X_t, H_{t-1}), where r(X, Y)_i is the sum over j of
    softmax_j(theta(x_i) . phi(y_j)) g(y_j) (equations 2 and 4): no scaling, no residual, no output projection. What
    depends on X alone is computed for all steps at once, by one product: theta, phi and g of the four r_x, theta of the
    four r_h, and then the four r_x themselves. A step is left with one product for phi and g of the four r_h.

    Args:
        channels: C of the maps.
        hidden: channels of the state, C / 2 in the paper.
        embedding: channels of theta and phi.
        bias: of the embeddings and the 1x1 convolution.
        shared_theta: r_x and r_h of a gate share theta.
        momentum: of the moving batch norm.

    Attributes:
        inputs: the embeddings of X: rows of theta_x, phi_x, g_x and, unless shared, theta_h, four gates in each.
        state: the embeddings of H: rows of phi_h and g_h, four gates in each.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        *,
        embedding: int,
        bias: bool = True,
        shared_theta: bool = False,
        momentum: float = MOMENTUM,
    ) -> None:
        super().__init__()
        self.hidden, self.embedding = hidden, embedding
        self.norm = MovingBatchNorm2d(channels, momentum=momentum)
        self.input_widths = [embedding, embedding, hidden] + ([] if shared_theta else [embedding])
        self.state_widths = [embedding, hidden]
        self.inputs = nn.Linear(channels, GATES * sum(self.input_widths), bias)
        self.state = nn.Linear(hidden, GATES * sum(self.state_widths), bias)
        self.up = nn.Conv2d(hidden, channels, 1, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each embedding of each gate by itself as the paper does (section 5.2: Xavier-Glorot)."""
        for layer, widths in ((self.inputs, self.input_widths), (self.state, self.state_widths)):
            for rows in torch.split(layer.weight.detach(), [width for width in widths for _ in range(GATES)]):
                nn.init.xavier_uniform_(rows)
        nn.init.xavier_uniform_(self.up.weight)
        for part in (self.inputs, self.state, self.up):
            if part.bias is not None:
                nn.init.zeros_(part.bias)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn ``maps (N, T, C, H, W)`` into the last state after the 1x1 convolution, ``(N, C, H, W)``.

        With ``mask (N, T)`` the last state is that of the last valid step; padding has no part in it.
        """
        maps = without_padding(maps, mask)
        videos, steps, _, height, width = maps.shape
        embedded = self._embed(maps.flatten(0, 1), None if mask is None else mask.flatten())
        theta, phi, g, *rest = by_gate(embedded, self.input_widths)
        from_input = per_step(relate(theta, phi, g), videos, steps)  # (N, T, 4, P, hidden)
        queries = per_step(rest[0] if rest else theta, videos, steps)
        state = self._recur(from_input.unbind(1), queries.unbind(1), mask)  # (N, P, hidden)
        up: Tensor = self.up(state.transpose(1, 2).reshape(videos, -1, height, width))
        return up

    def _embed(self, maps: Tensor, mask: Tensor | None) -> Tensor:
        """Return the embeddings ``(N T, P, ...)`` of ``maps (N T, C, H, W)`` after batch norm.

        When only the norm's own weights require a gradient through it, norm and product are one layer on the maps less
        their mean, of weight W scale and bias W shift + b: that saves a third of the work (``mean_and_scale`` says
        why). The mean is not folded into the bias: in bfloat16 the difference of the two would lose its digits.
        """
        if maps.requires_grad or not torch.is_grad_enabled():
            embedded: Tensor = self.inputs(self.norm(maps, mask).flatten(2).transpose(1, 2))
            return embedded
        mean, scale = self.norm.mean_and_scale(maps, mask)
        with torch.autocast(maps.device.type, enabled=False):
            bias = self.inputs.weight @ self.norm.bias
            bias = bias if self.inputs.bias is None else bias + self.inputs.bias
            weight = self.inputs.weight * scale
            centred = maps.to(at_least_float32(maps)) - mean[:, None, None]
        return F.linear(centred.flatten(2).transpose(1, 2), weight, bias)

    def _recur(self, from_input: tuple[Tensor, ...], queries: tuple[Tensor, ...], mask: Tensor | None) -> Tensor:
        """Run equation 3 over the steps, each ``(N, 4, P, ...)``, and return the last state ``(N, P, hidden)``."""
        # C_0, not stated; H_0 is zero (section 4). The cell sums over all steps, in float32 under autocast too.
        first = from_input[0][:, 0]
        cell = torch.zeros_like(first, dtype=at_least_float32(first))
        state = cell
        for step, (inputs, theta) in enumerate(zip(from_input, queries, strict=True)):
            gates = inputs + relate(theta, *by_gate(self.state(state), self.state_widths))
            i, f, o = gates[:, :3].sigmoid().unbind(1)
            new_cell = f * cell + i * gates[:, 3].tanh()
            new_state = o * new_cell.tanh()
            if mask is None:
                state, cell = new_state, new_cell
            else:
                valid = mask[:, step, None, None]
                state, cell = torch.where(valid, new_state, state), torch.where(valid, new_cell, cell)
        return state


def relate(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    """Return r(X, Y) of embeddings (equation 2 with the embedded Gaussian of equation 4).

    Args:
        theta: of X, ``(..., P, E)``.
        phi: of Y, ``(..., Q, E)``.
        g: of Y, ``(..., Q, D)``.

    Returns:
        ``(..., P, D)``: for each position of X the mean of ``g`` with weights softmax of theta . phi over Y.

    Raises:
        RuntimeError: a second derivative is taken through a fused kernel, which has none.
    """
    if transformed():
        return (theta @ phi.transpose(-1, -2)).softmax(-1) @ g
    if not torch.compiler.is_compiling() and any(enabled() for enabled in FUSED_KERNELS):
        theta, phi, g = (first_order(part, NO_SECOND_DERIVATIVE) for part in (theta, phi, g))
    return F.scaled_dot_product_attention(theta, phi, g, scale=1.0)


def by_gate(x: Tensor, widths: list[int]) -> list[Tensor]:
    """Split ``(N, P, 4 * sum(widths))`` into one ``(N, 4, P, width)`` for each width."""
    parts = torch.split(x, [GATES * width for width in widths], -1)
    return [part.view(*part.shape[:-1], GATES, -1).transpose(1, 2) for part in parts]


def per_step(x: Tensor, videos: int, steps: int) -> Tensor:
    """View ``(N T, ...)`` as ``(N, T, ...)``."""
    return x.view(videos, steps, *x.shape[1:])
