"""The memory network of MATDL (T = 25, ResNet-101's pool5) and the Relational LSTM (T = 8, conv5_2), 101 classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

import models
from benchmarks.network_cases.case import Case, Inputs, Parts, Product

K, D = 101, 2048
MEMORY_T, HIDDEN, CONTROLLER = 25, 512, 512
T, P, STATE, INNER = 8, 49, 1024, 512
GATES = range(4)


def straightforward_memory(net: Any, features: Inputs) -> Tensor:
    """Step by step, a product for each weight of each gate, and the memory a list that is read anew (eqs. 1 to 9)."""
    assert isinstance(features, Tensor)
    h = c = features.new_zeros(len(features), HIDDEN)
    items: list[Tensor] = []
    writes: list[Tensor] = []
    lstm = net.lstm
    parts = [part.chunk(4) for part in (lstm.weight_ih, lstm.bias_ih, lstm.weight_hh, lstm.bias_hh)]
    for t in range(features.shape[1]):
        x = features[:, t]
        history = _mean(items, writes) if items else x.new_zeros(len(x), D)
        w_x, b_x, w_h, b_h = parts
        i, f, g, o = (linear(x, w_x[n], b_x[n]) + linear(h, w_h[n], b_h[n]) for n in GATES)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        a = net.decision((net.feature(x) + net.context(h) + net.history(history)).relu()).sigmoid()
        s = (a > net.threshold).to(a.dtype) + (a - a.detach())
        h, c = s * h, s * c
        items.append(net.write(x))
        writes.append(s)
    logits: Tensor = net.classifier(_mean(items, writes))
    return logits


def _mean(items: list[Tensor], writes: list[Tensor]) -> Tensor:
    weights = torch.stack(writes, 1)
    count = weights.sum(1)
    return (weights * torch.stack(items, 1)).sum(1) / (count + (count == 0))


def straightforward_relational_lstm(net: Any, features: Inputs) -> Tensor:
    """Step by step, 24 embeddings by a product each, softmax of products (eqs. 2 to 4); conv5_3 of each step."""
    assert isinstance(features, Tensor)
    core = net.relational
    weights_x, biases_x = core.inputs.weight.split(STATE), core.inputs.bias.split(STATE)
    weights_h, biases_h = core.state.weight.split(STATE), core.state.bias.split(STATE)
    h = c = features.new_zeros(len(features), P, STATE)
    local: Any = 0.0
    for t in range(T):
        maps = features[:, t]
        local = local + net.local(maps) / T
        x = core.norm(maps).flatten(2).transpose(1, 2)
        sums = []
        for gate in GATES:
            of_x = [linear(x, weights_x[4 * part + gate], biases_x[4 * part + gate]) for part in range(4)]
            of_h = [linear(h, weights_h[4 * part + gate], biases_h[4 * part + gate]) for part in range(2)]
            sums.append(_relate(*of_x[:3]) + _relate(of_x[3], *of_h))
        i, f, o, g = sums
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    up = core.up(h.transpose(1, 2).reshape(len(h), STATE, 7, 7))
    logits: Tensor = net.classifier(torch.cat([local, net.non_local(up)], 1))
    return logits


def _relate(theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
    return (theta @ phi.transpose(1, 2)).softmax(-1) @ g


def _layer(rows: int, inner: int, columns: int, *, steps: int = 1, input_gradient: bool = True) -> list[Product]:
    """A layer forward, its weight's gradient over all steps at once, and its input's gradient."""
    products = [Product(steps, rows, inner, columns), Product(1, inner, steps * rows, columns)]
    return [*products, Product(steps, rows, columns, inner)] if input_gradient else products


def memory(batch: int, device: torch.device) -> Parts:
    torch.manual_seed(0)
    net = models.build("memory", num_classes=K, feature_shape=(D,), dropout=0.0).to(device)
    rows = MEMORY_T * batch
    products = [
        *_layer(rows, D, 4 * HIDDEN + D + CONTROLLER, input_gradient=False),  # LSTM, W_w and W_sf
        *_layer(rows, D, CONTROLLER),  # W_sm
        *_layer(batch, HIDDEN, 4 * HIDDEN + CONTROLLER, steps=MEMORY_T),  # LSTM's state and W_sc
        *_layer(batch, D, K),
    ]
    features = torch.rand(batch, MEMORY_T, D, device=device)
    return Parts(net, features, lambda x: straightforward_memory(net, x), products)


def relational_lstm(batch: int, device: torch.device) -> Parts:
    """The floor leaves out the attention itself, 2 % of all operations; momentum 0, so that both forms stay alike."""
    torch.manual_seed(0)
    net = models.build("relational_lstm", num_classes=K, feature_shape=(D, 7, 7), dropout=0.0, momentum=0.0).to(device)
    rows = batch * P
    products = [
        *_layer(T * rows, D, 16 * STATE, input_gradient=False),  # theta, phi, g of X, and theta of X for H
        *_layer(rows, STATE, 8 * STATE, steps=T),  # phi and g of H
        *_layer(rows, STATE, D),  # 1x1 convolution
    ]
    for positions in (T * rows, rows):  # conv5_3 of the local branch and of the other
        products += _layer(positions, D, INNER) + _layer(positions, 9 * INNER, INNER) + _layer(positions, INNER, D)
    features = torch.rand(batch, T, D, 7, 7, device=device)
    return Parts(net, features, lambda x: straightforward_relational_lstm(net, x), products)


CASES = (
    Case("memory", "T 25, 2048", 64, 64, 2.0, memory),
    Case("relational_lstm", "T 8, 2048 x 7 x 7", 2, 24, 2.0, relational_lstm),
)
