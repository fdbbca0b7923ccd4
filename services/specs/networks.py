"""Temporal networks: one spec for each kind, with the options that the papers' tables need.

Defaults are the papers', or ours where paper and code leave a number open; ``models/`` says whose each one is. They are
decided here. The constructors of ``models/`` have the same ones, for use without a spec: a test compares each.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from services.errors import refused
from services.specs.backbone import FeatureForm
from services.specs.base import Spec, Stream
from services.specs.training import BATCH_NORM_SAMPLES
from services.specs.weights import ModelWeights, NetworkWeights

Width = Annotated[int, Field(ge=1, le=8192)]
Share = Annotated[float, Field(ge=0, lt=1)]
Segments = Annotated[int, Field(ge=1, le=25)]
Kernel = Literal[1, 3, 5, 7, 9, 11]


def _as_layers(hidden: object) -> object:
    layers = [hidden] if isinstance(hidden, int) else hidden
    return tuple(layers) if isinstance(layers, list) else layers  # strict, a list from JSON is no tuple any more


def _as_width(hidden: object) -> object:
    return hidden[0] if isinstance(hidden, list | tuple) and len(hidden) == 1 else hidden


Layers = Annotated[tuple[Width, ...], Field(min_length=1, max_length=3), BeforeValidator(_as_layers)]
"""Width of each of stacked layers; a number stands for a list of one."""
State = Annotated[Width, BeforeValidator(_as_width)]
"""Width of the state of one layer; a list of one stands for a number."""
InitialState = Literal["learned", "zero"]
InitialWeights = Literal["code", "pytorch"]

VECTORS: Mapping[Stream, FeatureForm] = MappingProxyType({"rgb": "vector", "flow": "vector"})
MAPS: Mapping[Stream, FeatureForm] = MappingProxyType({"rgb": "map", "flow": "map"})


class Network(Spec):
    """What every kind says of itself.

    Attributes:
        features: the form of each stream's features.
        sees_both: whether it takes both streams at once, and apart; others take one, or several side by side.
        trains_backbone: whether it can be trained end to end with a backbone.
        keeps_batch_norms: whether the backbone's then still normalise by the batch.
        attends: whether it says which positions of a map it looks at.
        remembers: whether it decides at each step what it writes to a memory.
    """

    features: ClassVar[Mapping[Stream, FeatureForm]] = VECTORS
    sees_both: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = False
    keeps_batch_norms: ClassVar[bool] = True
    attends: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    weights: ModelWeights = "none"
    """From which training starts: `none`, the absolute path of a `model.pt` on the workers, or a stage that trains
    them, as `{recipe, dataset, split}` or `{experiment, split, stream}`; each of several is laid over those before."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of the network itself, in ``models/``; the others say how it gets its weights."""
        return self.model_dump(exclude={"kind", "classifier", "weights"})

    @property
    def trained_parts(self) -> tuple[NetworkWeights, ...]:
        """The stages that it starts from, in the order in which their weights are laid over one another."""
        if isinstance(self.weights, str):
            return ()
        return (self.weights,) if isinstance(self.weights, NetworkWeights) else self.weights

    @property
    def is_finetuned(self) -> bool:
        """Whether it is the network that `backbone.finetune` trains, and nothing more is trained."""
        return False

    @property
    def least_steps(self) -> int:
        """Steps that a clip must have."""
        return 1

    @property
    def least_samples(self) -> int:
        """Samples that each process must have of a batch: more for a batch norm of the batch's own statistics."""
        return BATCH_NORM_SAMPLES if getattr(self, "batch_norm", False) else 1


class ConvNet(Network):
    """Frame-level ConvNet: one linear layer on each frame's features, averaged in the test (TS-LSTM, sec. 3.1)."""

    kind: Literal["convnet"] = "convnet"
    dropout: Share = 0.0
    classifier: Literal["retrained", "finetuned"] = "retrained"
    """`retrained` trains the linear layer anew, by `training`, on extracted features. `finetuned` keeps that of
    `backbone.finetune`: the fine-tuned ConvNet itself is scored frame by frame, in the crops that `evaluation` says,
    and nothing more is trained; `training` is of no account then."""

    @property
    def is_finetuned(self) -> bool:
        """Whether the classifier is that of `backbone.finetune`."""
        return self.classifier == "finetuned"


class TSN(Network):
    """Temporal Segment Network: a snippet of each of S equal parts, consensus by average."""

    trains_backbone: ClassVar[bool] = True
    kind: Literal["tsn"] = "tsn"
    segments: Segments = 3
    dropout: Share = 0.8
    """0.8 for rgb and 0.7 for flow in TSN's code."""
    partial_batch_norm: bool = True
    """Freezes every batch norm of a backbone that is trained along, but the first."""

    @property
    def least_steps(self) -> int:
        """One snippet for each segment."""
        return self.segments


class _Pooling(Network):
    segments: Segments = 1
    """Parts that are pooled apart: TS of TS-LSTM, Tables 3 and 7."""
    fc_dim: Width | None = None
    """Width of a linear layer before pooling, one for each segment (TS-LSTM, Table 7: FC 512)."""
    dropout: Share = 0.0
    batch_norm: bool | Literal["before", "after"] = True

    @property
    def least_steps(self) -> int:
        """One step for each segment."""
        return self.segments


class MeanPooling(_Pooling):
    """Mean of the features over time, then one linear layer."""

    kind: Literal["mean_pooling"] = "mean_pooling"


class MaxPooling(_Pooling):
    """Maximum of the features over time, then one linear layer."""

    kind: Literal["max_pooling"] = "max_pooling"


class LSTM(Network):
    """LSTM over all steps: batch norm, LSTM, batch norm, linear (TS-LSTM, Table 7); VideoLSTM's by its options."""

    kind: Literal["lstm"] = "lstm"
    hidden: Layers = (512,)
    """Width of the LSTM, or a list with that of each of its stacked layers."""
    batch_norm: bool = True
    predict: Literal["last", "mean", "steps"] = "last"
    """What is classified: the last step, all steps by the mean of their scores, or each by itself (VideoLSTM)."""
    fc_dim: Width | None = None
    """Width of a tanh layer before the classifier; 1024 in VideoLSTM."""
    dropout: Share = 0.0
    initial_weights: InitialWeights = "pytorch"
    """As PyTorch draws them, or all from uniform(-0.1, 0.1) as TS-LSTM's code does."""


class TSLSTM(Network):
    """Temporal Segment LSTM (TS-LSTM, sec. 3.2): batch norm, max over each segment, LSTM over segments."""

    kind: Literal["ts_lstm"] = "ts_lstm"
    segments: Segments = 3
    hidden: Layers = (512,)
    """Width of the LSTM, or a list with that of each of its stacked layers."""
    pooling: Literal["max", "mean"] = "max"
    batch_norm: bool = True
    shared_batch_norm: bool = False
    """One batch norm for all segments in place of one for each."""
    dropout: Share = 0.0
    initial_weights: InitialWeights = "pytorch"
    """As PyTorch draws them, or all from uniform(-0.1, 0.1) as TS-LSTM's code does."""

    @property
    def least_steps(self) -> int:
        """One step for each segment."""
        return self.segments


class TemporalConvNet(Network):
    """Convolutions over time (TS-LSTM, sec. 3.3): Temporal-Inception, Temporal-VGG, every row of Tables 4, 8, 9, 10."""

    kind: Literal["temporal_convnet"] = "temporal_convnet"
    architecture: Literal["inception", "vgg"] = "inception"
    kernels: Annotated[
        tuple[Kernel | Annotated[tuple[Kernel, ...], Field(min_length=1, max_length=4)], ...],
        Field(min_length=1, max_length=4),
    ] = (5, 7)
    """Length of each flow's kernel along time; a list for a stack of them (Table 10)."""
    pools: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], Field(min_length=1, max_length=6)] = (2, 2, 2, 3)
    """By how much each module shortens time."""
    downsample: Literal["pool", "stride"] = "pool"
    reduction: (
        Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(max_length=6)] | Literal["mean", "max"]
    ) = (4, 2, 1)
    """How channels become fewer (Table 9): widths of 1x1 convolutions, or the mean or maximum over channels."""
    reduce_each: bool = False
    """After every module in place of after the last."""
    fc_dim: Width | None = 1024
    batch_norm: bool = True
    dropout: Share = 0.2
    fc_dropout: Share | None = None
    spatial_dropout: bool = False
    """Drops whole channels, as the released code does."""
    frames: Annotated[int, Field(ge=1, le=1000)] = 25
    """Steps that the network sees; clips of another length are sampled."""

    @model_validator(mode="after")
    def _steps_are_left(self) -> TemporalConvNet:
        if prod(self.pools) > self.frames:
            raise refused("pools", list(self.pools), f"a product of 1 to frames = {self.frames}")
        return self


class _Recurrent(Network):
    """What VideoLSTM's networks share (sec. 5.2)."""

    hidden: State = 512
    """Width, or channels, of the state."""
    initial_state: InitialState = "learned"
    """`learned` from the mean of the features (the released code), or `zero`."""
    fc_dim: Width = 1024
    """Width of the tanh layer before the classifier."""
    dropout: Share = 0.7
    initial_weights: InitialWeights = "code"
    """As the released code draws them, or as PyTorch does."""


class ALSTM(_Recurrent):
    """LSTM with soft attention over the positions of a map (VideoLSTM, sec. 3.1)."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MAPS
    attends: ClassVar[bool] = True
    kind: Literal["alstm"] = "alstm"
    attention_dim: Width = 512
    dropout: Share = 0.5


class ConvLSTM(_Recurrent):
    """LSTM whose products are convolutions (VideoLSTM, sec. 3.1, eqs 1 to 6)."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MAPS
    kind: Literal["conv_lstm"] = "conv_lstm"
    kernel_size: Kernel = 3
    initial_state: InitialState = "zero"


class ConvALSTM(_Recurrent):
    """ConvLSTM with convolutional attention (VideoLSTM, sec. 3.1, eqs 7 to 9)."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MAPS
    attends: ClassVar[bool] = True
    kind: Literal["conv_alstm"] = "conv_alstm"
    kernel_size: Kernel = 3
    attention_dim: Width = 512


class MotionALSTM(_Recurrent):
    """A bottom LSTM on flow vectors steers the attention of a top LSTM on rgb maps (VideoLSTM, sec. 3.2)."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MappingProxyType({"rgb": "map", "flow": "vector"})
    sees_both: ClassVar[bool] = True
    attends: ClassVar[bool] = True
    kind: Literal["motion_alstm"] = "motion_alstm"
    attention_dim: Width = 512
    dropout: Share = 0.5


class VideoLSTM(_Recurrent):
    """A bottom ConvLSTM on flow maps steers the attention of a top one on rgb maps (VideoLSTM, sec. 3.2)."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MAPS
    sees_both: ClassVar[bool] = True
    attends: ClassVar[bool] = True
    kind: Literal["video_lstm"] = "video_lstm"
    kernel_size: Kernel = 3
    motion_kernel_size: Kernel = 3
    """Of the bottom layer: 3 in the paper, 1 in the released script."""
    attention_dim: Width = 512


class Memory(Network):
    """Memory-augmented temporal dynamic learning (MATDL): a controller decides which frames to write to a memory."""

    trains_backbone: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    kind: Literal["memory"] = "memory"
    memory_dim: Width | None = None
    """Width of a memory item; none for that of the features."""
    hidden: State = 512
    """Width of the segmental LSTM."""
    controller: Width = 512
    threshold: Share = 0.5
    """A frame is written where its probability is above this."""
    empty_memory: Literal["mean", "best"] = "mean"
    """What stands in where nothing was written: the mean of all items, or the item of the largest probability."""
    dropout: Share = 0.8


class RelationalLSTM(Network):
    """Relational LSTM: non-local operations in place of an LSTM's products, beside a local branch."""

    features: ClassVar[Mapping[Stream, FeatureForm]] = MAPS
    trains_backbone: ClassVar[bool] = True
    keeps_batch_norms: ClassVar[bool] = False
    kind: Literal["relational_lstm"] = "relational_lstm"
    branches: Literal["both", "local", "non-local"] = "both"
    """`both` (Table 2), `local` (Table 3) or `non-local` (Table 1)."""
    segments: Annotated[int, Field(ge=1, le=100)] | None = 8
    """Steps that the network sees, one of each of so many equal parts of a clip; 6, 8, 10 or 12 in Table 2."""
    hidden: State | None = None
    """Channels of the state; none for half of the maps'."""
    embedding: Width | None = None
    """Channels of theta and phi; none for those of the state."""
    bias: bool = True
    shared_theta: bool = False
    """One theta for both relations of a gate."""
    width: Width | None = None
    """Inner channels of conv5_3; none for a quarter of the maps'."""
    momentum: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Of the moving batch norms: 0.001 or 0.0005 (sec. 5.2)."""
    dropout: Share = 0.8
    """0.8 for rgb, 0.7 for flow (sec. 5.2)."""

    @property
    def least_steps(self) -> int:
        """One step for each segment."""
        return self.segments or 1


ModelSpec = Annotated[
    ConvNet
    | TSN
    | MeanPooling
    | MaxPooling
    | LSTM
    | TSLSTM
    | TemporalConvNet
    | ALSTM
    | ConvLSTM
    | ConvALSTM
    | MotionALSTM
    | VideoLSTM
    | Memory
    | RelationalLSTM,
    Field(discriminator="kind"),
]
