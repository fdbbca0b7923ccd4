"""A TS-LSTM of Torch7 under the paths of its modules gives, in ours, the numbers of its formulas without peepholes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

import models
from services.errors import UserError
from worker.stages.released import named_as_ours
from worker.stages.start import load_network

Array = NDArray[np.float64]
SEGMENTS, WIDTH, HIDDEN, CLASSES = 2, 3, 4, 5
RECURRENT = "5.0.0"
"""The LSTM in a `Sequencer`; its own container is the last of these."""
GATES = {"f": "0.1.0.0.0.0.0", "i": "0.1.0.1.0.0.0", "c": "0.1.0.1.0.1.1", "o": "2.0.0.0.0"}
"""Linear layers of a gate, as `nn.LSTM` nests them."""


def released(wrapped: str = "", numbers: Any = None) -> dict[str, torch.Tensor]:
    numbers = np.random.default_rng(0) if numbers is None else numbers
    state: dict[str, Array] = {}

    def draw(path: str, **shapes: tuple[int, ...]) -> None:
        state.update({f"{path}.{name}": numbers.normal(size=shape) for name, shape in shapes.items()})

    def norm(path: str, width: int) -> None:
        draw(path, weight=(width,), bias=(width,), running_mean=(width,), running_var=(width,))
        state[f"{path}.running_var"] = np.square(state[f"{path}.running_var"])

    for segment in range(SEGMENTS):
        norm(f"1.{segment}.0{wrapped}", WIDTH)
    for gate, inside in GATES.items():
        path = f"{RECURRENT}.{inside}"
        draw(f"{path}.0", weight=(HIDDEN, WIDTH), bias=(HIDDEN,))
        draw(f"{path}.1", weight=(HIDDEN, HIDDEN), bias=(HIDDEN,))
        if gate != "c":
            draw(f"{path}.2", weight=(HIDDEN,))
    norm("7", HIDDEN)
    draw("8", weight=(CLASSES, HIDDEN), bias=(CLASSES,))
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in state.items()}


def network(**options: Any) -> torch.nn.Module:
    return models.build(
        "ts_lstm", num_classes=CLASSES, feature_shape=(WIDTH,), segments=SEGMENTS, hidden=HIDDEN, **options
    ).eval()


def expected(state: dict[str, torch.Tensor], features: Array) -> Array:
    def normalised(path: str, x: Array) -> Array:
        mean, var, weight, bias = (
            state[f"{path}.{name}"].numpy() for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    def gate(name: str, x: Array, h: Array) -> Array:
        path = f"{RECURRENT}.{GATES[name]}"
        return sum(
            state[f"{path}.{place}.weight"].numpy() @ value + state[f"{path}.{place}.bias"].numpy()
            for place, value in enumerate((x, h))
        )

    hidden = cell = np.zeros(HIDDEN)
    for segment, part in enumerate(np.split(features, SEGMENTS)):
        x = normalised(f"1.{segment}.0", part).max(0)
        f, i, c, o = (gate(name, x, hidden) for name in "fico")
        cell = expit(f) * cell + expit(i) * np.tanh(c)
        hidden = expit(o) * np.tanh(cell)
    return state["8.weight"].numpy() @ normalised("7", hidden) + state["8.bias"].numpy()


def test_logits_are_those_of_the_released_code_without_peepholes() -> None:
    ours, state = network(), released()
    renamed = named_as_ours(ours, state)
    assert load_network(ours, renamed.state, source="ts_lstm.pt") == ()
    assert renamed.left_out == tuple(f"{RECURRENT}.{GATES[gate]}.2.weight" for gate in "fio")
    features = np.random.default_rng(1).normal(size=(4, WIDTH)).astype(np.float32)
    with torch.no_grad():
        found = ours(torch.from_numpy(features)[None]).logits[0]
    np.testing.assert_allclose(found.numpy(), expected(state, features), atol=1e-4)


def test_how_many_containers_stand_around_a_module_does_not_matter() -> None:
    plain, wrapped = (named_as_ours(network(), released(around)).state for around in ("", ".0"))
    assert plain.keys() == wrapped.keys()
    assert all(torch.equal(plain[name], wrapped[name]) for name in plain)


def test_another_model_of_torch7_is_named() -> None:
    three = models.build("ts_lstm", num_classes=CLASSES, feature_shape=(WIDTH,), segments=3, hidden=HIDDEN)
    with pytest.raises(UserError, match=r"t7\.pt: weights of another network: 1\.0\.0\.weight is unknown"):
        load_network(three, named_as_ours(three, released()).state, source="t7.pt")
    shared = network(shared_batch_norm=True)
    with pytest.raises(UserError, match=r"input_norm\.weight has shape \[2, 3\], expected \[1, 3\]"):
        load_network(shared, named_as_ours(shared, released()).state, source="t7.pt")
    torn = released() | {"1.1.0.weight": torch.zeros(2)}
    with pytest.raises(UserError, match=r"1\.0\.0\.weight is unknown"):
        load_network(network(), named_as_ours(network(), torn).state, source="t7.pt")
