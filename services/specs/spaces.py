"""What a sweep tries of a network where its user does not say it.

Few axes, since a trial costs a training: three or four are what twenty trials can tell apart. Axes of `training` and
`model` alone, so that all trials share flow, ConvNet and features.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from services.specs.experiment import ExperimentSpec
from services.specs.sweep import AxisSpec

RATE = "training.optimizer.learning_rate"
TUNED = "backbone.finetune"


def _of(*choices: Any) -> AxisSpec:
    return AxisSpec(choices=choices)


DROPOUT = AxisSpec(low=0.0, high=0.8, step=0.1)
"""From none to the most that a paper has (0.8: MATDL, TSN's code)."""
LAYERS = _of([256], [512], [1024])
"""Half and twice the papers' 512."""
WIDTH = _of(256, 512, 1024)
SEGMENTS = _of(1, 3, 5, 7)
"""TS-LSTM, Tables 3 and 7, ask how many segments; one is the network without them."""
RECURRENT: Mapping[str, AxisSpec] = MappingProxyType({"model.hidden": WIDTH, "model.dropout": DROPOUT})

SPACES: Mapping[str, Mapping[str, AxisSpec]] = MappingProxyType(
    {
        "convnet": {"model.dropout": DROPOUT},
        "tsn": {"model.segments": SEGMENTS, "model.dropout": DROPOUT},
        "mean_pooling": {"model.segments": SEGMENTS, "model.fc_dim": _of(None, 512), "model.dropout": DROPOUT},
        "max_pooling": {"model.segments": SEGMENTS, "model.fc_dim": _of(None, 512), "model.dropout": DROPOUT},
        "lstm": {"model.hidden": LAYERS, "model.predict": _of("last", "mean", "steps"), "model.dropout": DROPOUT},
        "ts_lstm": {"model.segments": SEGMENTS, "model.hidden": LAYERS, "model.pooling": _of("max", "mean")},
        # TS-LSTM, Tables 8 and 10, vary the kernels; the width of the last layer is its own choice
        "temporal_convnet": {
            "model.kernels": _of([3, 5], [5, 7], [7, 9]),
            "model.fc_dim": WIDTH,
            "model.dropout": DROPOUT,
        },
        "alstm": {**RECURRENT, "model.attention_dim": WIDTH},
        "conv_lstm": {**RECURRENT, "model.kernel_size": _of(1, 3, 5)},
        "conv_alstm": {**RECURRENT, "model.kernel_size": _of(1, 3, 5)},
        "motion_alstm": {**RECURRENT, "model.attention_dim": WIDTH},
        "video_lstm": {**RECURRENT, "model.motion_kernel_size": _of(1, 3)},  # the released script has 1, the paper 3
        "memory": {
            "model.hidden": WIDTH,
            "model.threshold": AxisSpec(low=0.3, high=0.7, step=0.1),  # around the 0.5 above which a frame is written
            "model.dropout": DROPOUT,
        },
        "relational_lstm": {
            "model.segments": _of(6, 8, 10, 12),  # Relational LSTM, Table 2
            "model.dropout": DROPOUT,
        },
    }
)
"""By the kind of the network, beside the learning rate."""


def default_space(spec: ExperimentSpec) -> dict[str, AxisSpec]:
    """Return what is tried of an experiment: the learning rate, and what its network is most often asked about.

    The rate is tried from a tenth to ten times what the spec has, since a paper's is for its data and its batch.
    Choices that the spec refuses, such as more segments than frames, are left out.
    """
    if spec.model.is_finetuned:
        assert spec.backbone.finetune is not None
        rate, own = f"{TUNED}.optimizer.learning_rate", spec.backbone.finetune.optimizer.learning_rate
        return {rate: _around(own), f"{TUNED}.dropout": DROPOUT}
    axes = {RATE: _around(spec.training.optimizer.learning_rate)}
    for path, axis in SPACES[spec.model.kind].items():
        kept = axis if axis.choices is None else _accepted(spec, path, axis.choices)
        if kept is not None:
            axes[path] = kept
    return axes


def _around(rate: float) -> AxisSpec:
    return AxisSpec(low=rate / 10, high=min(10.0, rate * 10), log=True)


def _accepted(spec: ExperimentSpec, path: str, choices: tuple[Any, ...]) -> AxisSpec | None:
    """Return the choices that a spec takes, or None where that leaves nothing to choose."""
    field = path.removeprefix("model.")
    body = spec.model_dump(mode="json")
    found = [choice for choice in choices if _takes({**body, "model": {**body["model"], field: choice}})]
    return AxisSpec(choices=tuple(found)) if len(found) > 1 else None


def _takes(body: dict[str, Any]) -> bool:
    try:
        ExperimentSpec.model_validate(body)
    except ValidationError:
        return False
    return True
