"""How weights are learned: optimiser, schedule, augmentation."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from services.errors import refused
from services.specs.base import Spec
from services.specs.schedule import ScheduleSpec

BATCH_NORM_SAMPLES = 2
"""Samples of a batch that each process must have where batch norm takes their statistics: one has no variance."""
BATCH_NORM_REASON = "since batch norm needs two samples in each process"
"""Why a smaller batch is refused, in the words of every message that says so."""


class OptimizerSpec(Spec):
    """How weights are updated."""

    later: ClassVar[frozenset[str]] = frozenset({"decay", "epsilon", "epsilon_inside_root"})
    name: Literal["sgd", "adam", "rmsprop"] = "adam"
    """`sgd` with momentum 0.9, `adam` with L2 in the gradient (not AdamW), `rmsprop` without momentum."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-5
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest gradient norm; none leaves gradients as they are."""
    clip_value: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest absolute value of a gradient's element."""
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of the running mean of squared gradients, of `rmsprop` alone (VideoLSTM, sec. 5.2: 0.9)."""
    epsilon: Annotated[float, Field(gt=0, le=1)] | None = None
    """Added to the root of that mean, of `rmsprop` alone; none for 1e-3."""
    epsilon_inside_root: bool = False
    """Whether `rmsprop` adds epsilon to the mean, before the root is taken (VideoLSTM's code, with 1e-6)."""

    @model_validator(mode="after")
    def _rmsprop_alone(self) -> OptimizerSpec:
        content = self.key_content()
        for field in ("decay", "epsilon", "epsilon_inside_root"):
            if self.name != "rmsprop" and field in content:
                usual = {"decay": "0.9", "epsilon": "null", "epsilon_inside_root": "false"}[field]
                raise refused(field, content[field], f"{usual} with optimizer {self.name}; rmsprop alone reads it")
        return self


class _Training(Spec):
    later: ClassVar[frozenset[str]] = frozenset(
        {"iterations", "schedule", "micro_batch", "layer_policy", "selection", "validation_share", "patience"}
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Not read where `iterations` is given."""
    iterations: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Updates of the weights after which training ends, also inside an epoch (MATDL: 18,000 and 80,000); none trains
    `epochs`. Over a recipe, `epochs` replaces its `iterations`."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 64
    """Samples of one update of the weights, over all processes."""
    micro_batch: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = None
    """Samples that a process takes at once: gradients are added up over its part of a batch, with the result of the
    whole batch, but for batch norm, which sees each micro batch by itself. `auto` halves it where memory is short."""
    optimizer: OptimizerSpec = OptimizerSpec()
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=100)] = ()
    """Epochs after which the learning rate is divided by 10; `schedule` says more."""
    schedule: ScheduleSpec | None = None
    """How the learning rate falls, in place of `milestones`: `{kind: steps, unit: iterations, milestones: [6000,
    12000]}` or `{kind: plateau}`. Over a recipe, `milestones` replaces its `schedule`."""
    layer_policy: Literal["none", "tsn"] = "none"
    """`tsn` learns biases at twice the rate, the first convolution of flow at five times the rate (its bias at ten),
    and has weight decay on weights alone, not on biases and batch norms (TSN's code)."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    selection: Literal["last", "validation", "test"] = "last"
    """Which epoch's weights are kept. `validation` holds a part of the train list out and keeps the epoch that is best
    on it; of `training` it holds the same clips out of `finetune`, unless that says itself what it holds out. `test`
    keeps the epoch that is best on the test list, as the released code of TS-LSTM and VideoLSTM does: such a number
    says more than it should, is flagged, and is not ranked beside others unless that is asked for."""
    validation_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Of the train list that `validation`, or `validate`, holds out, in whole groups of clips of each class; where the
    dataset does not say what a clip's group is, in single clips."""
    patience: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Epochs in a row no better than the best after which training ends; none trains to the end. Not for `last`."""
    checkpoint_epochs: Annotated[int, Field(ge=1)] = 1
    """Epochs between two checkpoints."""
    checkpoint_steps: Annotated[int, Field(ge=1)] | None = None
    """Steps between two checkpoints inside an epoch; none for epoch ends only."""

    def key_content(self) -> dict[str, Any]:
        """Return what of it is part of a stage's key: when checkpoints are written is not."""
        content = super().key_content()
        unread = {"checkpoint_epochs", "checkpoint_steps"}
        return {name: value for name, value in content.items() if name not in unread} | {
            "optimizer": self.optimizer.key_content()
        }

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.milestones and self.schedule is not None:
            raise refused("milestones", list(self.milestones), "none with a schedule")
        return self

    @model_validator(mode="after")
    def _patience_has_a_choice(self) -> Self:
        if self.patience is not None and self.selection == "last":
            raise refused("patience", self.patience, "null with selection last")
        return self


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", 'Field name "validate"')  # pydantic has an old name of model_validate there

    class TrainingSpec(_Training):
        """One training run: of a ConvNet (`finetune`) or of a temporal network (`training`)."""

        later: ClassVar[frozenset[str]] = _Training.later | {"validate"}
        validate: bool = False  # type: ignore[assignment]
        """Report loss and accuracy on a part of the train list after every epoch, and train on the rest: the part that
        `selection: validation` would hold out. Which epoch is kept stays with `selection`, which does so anyway where
        it is `validation`."""

        @property
        def held_out(self) -> Literal["validation", "test"] | None:
            """Which clips are tried after every epoch: a part of the train list, the test list, or none."""
            if self.selection == "test":
                return "test"
            return "validation" if self.validate or self.selection == "validation" else None

        def key_content(self) -> dict[str, Any]:
            """Leave out what changes nothing: `selection: validation` reports without being asked to."""
            content = super().key_content()
            if self.selection == "validation":
                content.pop("validate", None)
            return content

        @model_validator(mode="after")
        def _one_list_is_tried(self) -> Self:
            if self.validate and self.selection == "test":
                raise refused("validate", True, "false with selection test, which tries the test list")
            return self


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
    """Share of features that is dropped before the linear layer; of `vgg16` they are fc7's outputs (VideoLSTM's code:
    0.9 for rgb, 0.8 for flow)."""
    fc6_dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of fc6's outputs that is dropped, of `vgg16` alone; none for torchvision's 0.5 (VideoLSTM's code: 0.95 for
    rgb, 0.9 for flow)."""
    augmentation: AugmentationSpec | None = AugmentationSpec()
