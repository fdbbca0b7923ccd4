"""State dicts under the names of VideoLSTM's Theano code give, in our networks, the numbers that that code computes.

What it computes is written out here by its own formulas, in numpy and SciPy, whose convolution turns kernels round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal import convolve2d
from scipy.special import expit, softmax

import models
from services.errors import UserError
from worker.stages.released import named_as_ours
from worker.stages.start import load_network

Array = NDArray[np.float32]
Variables = dict[str, Array]
CHANNELS, MOTION, HIDDEN, HEIGHT, WIDTH, FC, CLASSES, STEPS = 3, 2, 4, 2, 3, 5, 6, 3
MAPS = (HEIGHT, WIDTH)


def drawn(**shapes: tuple[int, ...]) -> Variables:
    numbers = np.random.default_rng(0)
    return {name: numbers.normal(scale=0.4, size=shape).astype(np.float32) for name, shape in shapes.items()}


def layer(name: str, **shapes: tuple[int, ...]) -> Variables:
    return {f"{name}.{variable}": value for variable, value in drawn(**shapes).items()}


def gates(part: str, x: tuple[int, ...], h: tuple[int, ...], **others: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes = {f"W_{part}x": x, f"W_{part}h": h, f"b_{part}": (HIDDEN,), **others}
    return {f"{name}{gate}": shape for name, shape in shapes.items() for gate in "ifoc"}


def attention(width: int) -> dict[str, tuple[int, ...]]:
    return {
        "Wd_att": (HIDDEN, width), "Wc_att": (CHANNELS, width), "b_att": (width,), "U_att": (width, 1), "c_att": (1,)
    }  # fmt: skip


def dense(kind: str, number: int, inputs: int, outputs: int) -> Variables:
    return layer(f"{kind}-{number}", W=(inputs, outputs), b=(outputs,))


def starts(channels: int, first: int) -> Variables:
    found = (layer(f"ConvLayer-{first + n}", W=(HIDDEN, channels, 3, 3), b=(HIDDEN,)) for n in range(2))
    return {name: value * (1 + int(name[10])) for part in found for name, value in part.items()}


def on_maps(number: int) -> Variables:
    width = HIDDEN * HEIGHT * WIDTH
    return dense("DenseLayer", number, width, FC) | dense("DenseLayer", number + 2, FC, CLASSES)


def on_vectors(number: int) -> Variables:
    return dense("FeedForwardLayer", number, HIDDEN, FC) | dense("FeedForwardLayer", number + 2, FC, CLASSES)


KERNEL, SQUARE = (HIDDEN, CHANNELS, 3, 3), (HIDDEN, HIDDEN, 3, 3)
MOTION_KERNEL = (HIDDEN, MOTION, 3, 3)
DEEP = {
    **gates("pred_", KERNEL, SQUARE),
    **gates("infer_", MOTION_KERNEL, SQUARE, W_infer_c=SQUARE),
    **attention(CHANNELS),
}
FILES: dict[str, tuple[dict[str, Any], Any, Variables]] = {
    "lstm": (
        {"hidden": HIDDEN, "batch_norm": False, "predict": "steps", "fc_dim": FC},
        (CHANNELS,),
        layer("LSTMLayer-0", **gates("", (CHANNELS, HIDDEN), (HIDDEN, HIDDEN))) | on_vectors(2),
    ),
    "alstm": (
        {"hidden": HIDDEN, "attention_dim": CHANNELS, "fc_dim": FC},
        (CHANNELS, *MAPS),
        dense("FeedForwardLayer", 0, CHANNELS, HIDDEN)
        | dense("FeedForwardLayer", 1, CHANNELS, HIDDEN)
        | layer("CondLSTMLayer-2", **gates("", (CHANNELS, HIDDEN), (HIDDEN, HIDDEN)), **attention(CHANNELS))
        | on_vectors(4),
    ),
    "motion_alstm": (
        {"hidden": HIDDEN, "attention_dim": CHANNELS, "fc_dim": FC},
        {"rgb": (CHANNELS, *MAPS), "flow": (MOTION,)},
        dense("FeedForwardLayer", 0, CHANNELS, HIDDEN)
        | dense("FeedForwardLayer", 1, CHANNELS, HIDDEN)
        | dense("FeedForwardLayer", 2, MOTION, HIDDEN)
        | dense("FeedForwardLayer", 3, MOTION, HIDDEN)
        | layer(
            "DeepCondLSTMLayer-4",
            **gates("pred_", (CHANNELS, HIDDEN), (HIDDEN, HIDDEN)),
            **gates("infer_", (MOTION, HIDDEN), (HIDDEN, HIDDEN), W_infer_c=(HIDDEN, HIDDEN)),
            **attention(CHANNELS),
        )
        | on_vectors(6),
    ),
    "conv_lstm": (
        {"hidden": HIDDEN, "fc_dim": FC},
        (CHANNELS, *MAPS),
        layer("ConvLSTMLayer-0", **gates("", KERNEL, SQUARE)) | on_maps(1),
    ),
    "conv_alstm": (
        {"hidden": HIDDEN, "attention_dim": HIDDEN, "fc_dim": FC},
        (CHANNELS, *MAPS),
        starts(CHANNELS, 0)
        | layer("CondConvLSTMLayer-2", **gates("", KERNEL, SQUARE), **attention(HIDDEN))
        | on_maps(3),
    ),
    "video_lstm": (
        {"hidden": HIDDEN, "attention_dim": CHANNELS, "fc_dim": FC},
        {"rgb": (CHANNELS, *MAPS), "flow": (MOTION, *MAPS)},
        starts(CHANNELS, 0) | starts(MOTION, 2) | layer("DeepCondConvLSTMLayer-4", **DEEP) | on_maps(5),
    ),
}


def built(kind: str) -> torch.nn.Module:
    options, shape, _ = FILES[kind]
    return models.build(kind, num_classes=CLASSES, feature_shape=shape, **options).eval()


def tensors(variables: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in variables.items()}


@pytest.mark.parametrize("kind", FILES)
def test_every_variable_has_its_place(kind: str) -> None:
    network = built(kind)
    found = named_as_ours(network, tensors(FILES[kind][2]))
    assert load_network(network, found.state, source="released.pt") == found.left_out == ()


def theano_convolution(x: Array, kernel: Array) -> Array:
    """(O, H, W) of (C, H, W) by a kernel (O, C, 3, 3): as large as the input, zeros around it."""
    return np.stack([sum(convolve2d(*each, mode="same") for each in zip(x, own, strict=True)) for own in kernel])


class Released:
    """The formulas of the released layers, of one clip."""

    def __init__(self, variables: Variables, recurrent: str) -> None:
        self.variables, self.recurrent = variables, recurrent

    def __getitem__(self, name: str) -> Array:
        return self.variables[f"{self.recurrent}.{name}"]

    def times(self, x: Array, weight: Array) -> Array:
        return theano_convolution(x, weight) if weight.ndim == 4 else x @ weight

    def cell(self, part: str, inputs: dict[str, Array], cell: Array) -> tuple[Array, Array]:
        """One step; inputs by the letter of their weights."""

        def gate(name: str) -> Array:
            bias = self[f"b_{part}{name}"]
            found = sum(self.times(x, self[f"W_{part}{letter}{name}"]) for letter, x in inputs.items())
            return found + (bias[:, None, None] if cell.ndim == 3 else bias)

        cell = expit(gate("f")) * cell + expit(gate("i")) * np.tanh(gate("c"))
        return expit(gate("o")) * np.tanh(cell), cell

    def layer(self, name: str, x: Array) -> Array:
        weight, bias = self.variables[f"{name}.W"], self.variables[f"{name}.b"]
        return self.times(x, weight) + (bias[:, None, None] if weight.ndim == 4 else bias)

    def logits(self, kind: str, number: int, hidden: Array) -> Array:
        return self.layer(f"{kind}-{number + 2}", np.tanh(self.layer(f"{kind}-{number}", hidden.flatten())))


def lstm(variables: Variables, x: Array) -> Array:
    code, found = Released(variables, "LSTMLayer-0"), []
    hidden = cell = np.zeros(HIDDEN)
    for step in x:
        hidden, cell = code.cell("", {"x": step, "h": hidden}, cell)
        found.append(code.logits("FeedForwardLayer", 2, hidden))
    return np.stack(found)


def alstm(variables: Variables, x: Array) -> Array:
    code, found = Released(variables, "CondLSTMLayer-2"), []
    regions = x.reshape(len(x), CHANNELS, -1).swapaxes(1, 2)  # (T, P, C)
    hidden, cell = (np.tanh(code.layer(f"FeedForwardLayer-{n}", regions.mean((0, 1)))) for n in range(2))
    for step in regions:
        seen = np.tanh(step @ code["Wc_att"] + code["b_att"] + hidden @ code["Wd_att"])
        shares = softmax((seen @ code["U_att"] + code["c_att"])[:, 0])
        hidden, cell = code.cell("", {"x": shares @ step, "h": hidden}, cell)
        found.append(code.logits("FeedForwardLayer", 4, hidden))
    return np.stack(found)


def video_lstm(variables: Variables, x: Array, motion: Array) -> Array:
    code, found = Released(variables, "DeepCondConvLSTMLayer-4"), []
    hidden, cell = (np.tanh(code.layer(f"ConvLayer-{n}", x.mean(0))) for n in range(2))
    below, below_cell = (np.tanh(code.layer(f"ConvLayer-{n}", motion.mean(0))) for n in (2, 3))
    for step, flow in zip(x, motion, strict=True):
        below, below_cell = code.cell("infer_", {"x": flow, "h": below, "c": hidden}, below_cell)
        state = np.tensordot(code["Wd_att"], below, axes=[[0], [0]])
        seen = np.tensordot(code["Wc_att"], step, axes=[[0], [0]]) + code["b_att"][:, None, None]
        scores = np.tensordot(code["U_att"], np.tanh(seen + state), axes=[[0], [0]]) + code["c_att"][:, None, None]
        attended = step * softmax(scores.flatten()).reshape(1, *MAPS)
        hidden, cell = code.cell("pred_", {"x": attended, "h": hidden}, cell)
        found.append(code.logits("DenseLayer", 5, hidden))
    return np.stack(found)


def features(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=(STEPS, *shape)).astype(np.float32)


INPUTS: dict[str, tuple[Any, tuple[Array, ...]]] = {
    "lstm": (lstm, (features(CHANNELS),)),
    "alstm": (alstm, (features(CHANNELS, *MAPS),)),
    "video_lstm": (video_lstm, (features(CHANNELS, *MAPS), features(MOTION, *MAPS))),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_logits_are_those_of_the_released_code(kind: str) -> None:
    network, (code, given) = built(kind), INPUTS[kind]
    variables = FILES[kind][2]
    load_network(network, named_as_ours(network, tensors(variables)).state, source="released.pt")
    clips = [torch.from_numpy(each)[None] for each in given]
    with torch.no_grad():
        found = network(dict(zip(("rgb", "flow"), clips, strict=True)) if len(clips) > 1 else clips[0]).logits[0]
    np.testing.assert_allclose(found.numpy(), code(variables, *given), atol=1e-4)


def test_what_lacks_or_differs_is_named_as_we_name_it() -> None:
    network, variables = built("conv_lstm"), dict(FILES["conv_lstm"][2])
    del variables["ConvLSTMLayer-0.W_xf"]
    with pytest.raises(UserError, match=r"x\.pt: weights of another network: ConvLSTMLayer-0\.W_xi is unknown"):
        load_network(network, named_as_ours(network, tensors(variables)).state, source="x.pt")
    variables = FILES["conv_lstm"][2] | {"ConvLSTMLayer-0.b_o": np.zeros(7, np.float32)}
    with pytest.raises(UserError, match=r"b_i is unknown; ConvLSTMLayer-0\.b_f is unknown"):
        load_network(network, named_as_ours(network, tensors(variables)).state, source="x.pt")
    larger = models.build(
        "conv_lstm", num_classes=CLASSES, feature_shape=(CHANNELS + 1, *MAPS), hidden=HIDDEN, fc_dim=FC
    )
    with pytest.raises(UserError, match=r"gates\.input_weight has shape \[16, 3, 3, 3\], expected \[16, 4, 3, 3\]"):
        load_network(larger, named_as_ours(larger, tensors(FILES["conv_lstm"][2])).state, source="x.pt")
