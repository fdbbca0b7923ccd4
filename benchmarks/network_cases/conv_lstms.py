"""The convolutional networks of VideoLSTM (T = 30, VGG-16's pool5, 101 classes; batch 128 in the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

import models
from benchmarks.network_cases.case import Case, Inputs, Parts, Product

T, C, H, W, HIDDEN, FC, K = 30, 512, 7, 7, 512, 1024, 101
SIZE = "T 30, 512 x 7 x 7"
GATES = range(4)


def _conv(x: Tensor, weight: Tensor, gate: int) -> Tensor:
    return conv2d(x, weight.chunk(4)[gate], padding=weight.shape[-1] // 2)


def _update(sums: list[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o, g = sums
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _attention(net: Any, x: Tensor, h: Tensor) -> Tensor:
    from_x = conv2d(x, net.attention.feature_weight[..., None, None])
    from_h = conv2d(h, net.attention.hidden_weight[..., None, None])
    hidden = (from_x + from_h + net.attention.bias[:, None, None]).tanh()
    scores = conv2d(hidden, net.attention.score_weight[..., None, None], net.attention.score_bias)
    return scores.flatten(1).softmax(1).view_as(scores)


def _first(initial: Any, maps: Tensor) -> tuple[Tensor, Tensor]:
    if initial is None:
        zeros = maps.new_zeros(len(maps), HIDDEN, H, W)
        return zeros, zeros
    hidden, cell = initial.layer(maps.mean(1)).tanh().chunk(2, 1)
    return hidden, cell


def _step(gates: Any, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Four gates of two convolutions each, as eqs. 1 to 4 have them."""
    bias = gates.bias.chunk(4)
    sums = [_conv(x, gates.input_weight, n) + _conv(h, gates.hidden_weight, n) + bias[n][:, None, None] for n in GATES]
    return _update(sums, c)


def _classify(net: Any, h: Tensor) -> Tensor:
    logits: Tensor = net.classifier(h.permute(0, 2, 3, 1).flatten(1))
    return logits


def straightforward_conv_lstm(net: Any, features: Inputs) -> Tensor:
    assert isinstance(features, Tensor)
    h, c = _first(net.initial, features)
    logits = []
    for t in range(T):
        h, c = _step(net.gates, features[:, t], h, c)
        logits.append(_classify(net, h))
    return torch.stack(logits, 1)


def straightforward_conv_alstm(net: Any, features: Inputs) -> Tensor:
    assert isinstance(features, Tensor)
    h, c = _first(net.initial, features)
    logits = []
    for t in range(T):
        x = features[:, t]
        h, c = _step(net.gates, _attention(net, x, h) * x, h, c)
        logits.append(_classify(net, h))
    return torch.stack(logits, 1)


def straightforward_video_lstm(net: Any, features: Inputs) -> Tensor:
    assert isinstance(features, Mapping)
    h, c = _first(net.initial, features["rgb"])
    motion_h, motion_c = _first(net.motion_initial, features["flow"])
    bottom, bias = net.motion_gates, net.motion_gates.bias.chunk(4)
    logits = []
    for t in range(T):
        x, m = features["rgb"][:, t], features["flow"][:, t]
        sums = [
            _conv(m, bottom.input_weight, n)
            + _conv(motion_h, bottom.hidden_weight, n)
            + _conv(h, net.top_weight, n)
            + bias[n][:, None, None]
            for n in GATES
        ]
        motion_h, motion_c = _update(sums, motion_c)
        h, c = _step(net.gates, _attention(net, x, motion_h) * x, h, c)
        logits.append(_classify(net, h))
    return torch.stack(logits, 1)


def _layer(batch: int, *, states: int) -> list[Product]:
    """The products of one ConvLSTM layer: of its input for all steps, of ``states`` hidden maps at each step.

    Features need no gradient. A weight's gradient is one product over all steps, a state's one at each step.
    """
    rows, inner, columns = batch * H * W, 9 * HIDDEN, 4 * HIDDEN
    return [
        Product(1, T * rows, 9 * C, columns),  # W_x X
        Product(1, 9 * C, T * rows, columns),  # its weight's gradient
        Product(T, rows, states * inner, columns),  # W_h H
        Product(T, rows, columns, states * inner),  # the state's gradient
        Product(1, states * inner, T * rows, columns),  # its weight's gradient
    ]


def _attention_products(batch: int) -> list[Product]:
    rows = batch * H * W
    return [
        Product(1, T * rows, C, C),
        Product(1, C, T * rows, C),
        Product(2 * T, rows, HIDDEN, C),
        Product(1, HIDDEN, T * rows, C),
    ]


def _head(batch: int) -> list[Product]:
    flat = HIDDEN * H * W
    return [
        Product(1, T * batch, flat, FC),
        Product(1, T * batch, FC, flat),
        Product(1, flat, T * batch, FC),
        Product(3, T * batch, FC, K),
    ]


def _initial_state(batch: int) -> list[Product]:
    """The convolution of the mean map that gives hidden state and cell, and its weight's gradient."""
    rows = batch * H * W
    return [Product(1, rows, 9 * C, 2 * HIDDEN), Product(1, 9 * C, rows, 2 * HIDDEN)]


def _maps(batch: int, device: torch.device) -> Tensor:
    return torch.rand(batch, T, C, H, W, device=device)


def _network(kind: str, device: torch.device, shape: Any) -> nn.Module:
    torch.manual_seed(0)
    return models.build(kind, num_classes=K, feature_shape=shape, dropout=0.0, initial_weights="pytorch").to(device)


def conv_lstm(batch: int, device: torch.device) -> Parts:
    net = _network("conv_lstm", device, (C, H, W))
    products = [*_layer(batch, states=1), *_head(batch)]
    return Parts(net, _maps(batch, device), lambda x: straightforward_conv_lstm(net, x), products)


def conv_alstm(batch: int, device: torch.device) -> Parts:
    net = _network("conv_alstm", device, (C, H, W))
    products = [*_layer(batch, states=1), *_attention_products(batch), *_initial_state(batch), *_head(batch)]
    return Parts(net, _maps(batch, device), lambda x: straightforward_conv_alstm(net, x), products)


def video_lstm(batch: int, device: torch.device) -> Parts:
    net = _network("video_lstm", device, {"rgb": (C, H, W), "flow": (C, H, W)})
    products = [
        *_layer(batch, states=2),
        *_layer(batch, states=1),
        *_attention_products(batch),
        *_initial_state(batch),
        *_initial_state(batch),
        *_head(batch),
    ]
    inputs = {"rgb": _maps(batch, device), "flow": _maps(batch, device)}
    return Parts(net, inputs, lambda x: straightforward_video_lstm(net, x), products)


CASES = (
    Case("conv_lstm", SIZE, 2, 128, 2.0, conv_lstm),
    Case("conv_alstm", SIZE, 2, 128, 2.0, conv_alstm),
    Case("video_lstm", SIZE, 2, 128, 2.0, video_lstm),
)
