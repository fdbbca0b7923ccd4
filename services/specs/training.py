"""How weights are learned: optimiser, schedule, augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from services.specs.base import Spec

BATCH_NORM_SAMPLES = 2
"""Samples of a batch that each process must have where batch norm takes their statistics: one has no variance."""
BATCH_NORM_REASON = "since batch norm needs two samples in each process"
"""Why a smaller batch is refused, in the words of every message that says so."""


class OptimizerSpec(Spec):
    """How weights are updated."""

    name: Literal["sgd", "adam", "rmsprop"] = "adam"
    """`sgd` with momentum 0.9, `adam` with L2 in the gradient (not AdamW), `rmsprop` with decay 0.9
    and epsilon 1e-3 (VideoLSTM's code: 1e-6 inside the root)."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest gradient norm; none leaves gradients as they are."""
    clip_value: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest absolute value of a gradient's element."""


class TrainingSpec(Spec):
    """One training run: of a ConvNet (`finetune`) or of a temporal network (`training`)."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 100
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    optimizer: OptimizerSpec = OptimizerSpec()
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=100)] = ()
    """Epochs after which the learning rate is divided by 10."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpoint_epochs: Annotated[int, Field(ge=1)] = 1
    """Epochs between two checkpoints."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps between two checkpoints inside an epoch; none for epoch ends only."""


class AugmentationSpec(Spec):
    """Random changes of training frames (TS-LSTM, sec. 3.4.1): area and aspect crop, flip, colour jitter (rgb only)."""

    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    invert_flow_on_flip: bool = True
    """TSN inverts the x component on a flip; TS-LSTM's code does not."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.4


class FinetuneSpec(TrainingSpec):
    """Training of a ConvNet on frames or flow stacks of one stream (TS-LSTM, sec. 3.4.1; the rate is its code's)."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30
    optimizer: OptimizerSpec = OptimizerSpec(name="sgd", learning_rate=5e-4, weight_decay=1e-4)
    samples_per_clip: Annotated[int, Field(ge=1, le=100)] = 1
    """Random frames of each clip in an epoch."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: AugmentationSpec | None = AugmentationSpec()
