"""The language of an experiment: what a researcher submits, checked before anything is queued.

Every model is frozen and refuses unknown fields. Defaults are those of the paper or public code named beside them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Stream = Literal["rgb", "flow"]
FlowAlgorithm = Literal["tvl1", "brox", "farneback", "dis", "raft"]
FlowDevice = Literal["cpu", "gpu"]
FlowQuantization = Literal["linear", "frame_min_max"]
FlowStorage = Literal["stored", "on_the_fly"]
FlowCodec = Literal["raw", "png", "jpeg"]
RaftVariant = Literal["large", "small"]
BackboneName = Literal["tiny", "resnet18", "resnet101", "vgg16"]
FusionMethod = Literal["features", "probabilities", "logits", "product"]


class Spec(BaseModel):
    """Base of every spec: frozen, unknown fields refused, field docstrings published in the JSON schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class OptimizerSpec(Spec):
    """How weights are updated."""

    name: Literal["sgd", "adam", "rmsprop"] = "adam"
    """`sgd` with momentum 0.9, `adam` with L2 in the gradient (not AdamW), `rmsprop` with decay 0.9."""
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
    """Random changes of training frames (001, sec. 4.1): area and aspect crop, flip, colour jitter (rgb only)."""

    min_area: Annotated[float, Field(gt=0, le=1)] = 0.08
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    invert_flow_on_flip: bool = True
    """TSN inverts the x component on a flip; 001's code does not."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.4


class FinetuneSpec(TrainingSpec):
    """Training of a ConvNet on single frames or flow stacks of one stream (001, sec. 4.2)."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 30
    optimizer: OptimizerSpec = OptimizerSpec(name="sgd", learning_rate=5e-4, weight_decay=1e-4)
    samples_per_clip: Annotated[int, Field(ge=1, le=100)] = 1
    """Random frames of each clip in an epoch."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: AugmentationSpec | None = AugmentationSpec()


class BackboneSpec(Spec):
    """The ConvNet that turns a frame or a flow stack into a feature vector."""

    name: BackboneName = "resnet101"
    weights: Annotated[str, Field(min_length=1, max_length=1000)] = "none"
    """`none`, `imagenet` (torchvision's), or the path of a local state-dict file."""
    finetune: FinetuneSpec | None = FinetuneSpec()
    """None extracts features with the initial weights."""


FLOW_DEVICES: dict[FlowAlgorithm, tuple[FlowDevice, ...]] = {
    "tvl1": ("cpu", "gpu"),
    "brox": ("gpu",),
    "farneback": ("cpu",),
    "dis": ("cpu",),
    "raft": ("gpu",),
}
"""Where each algorithm is at home, its default first; what is at home on a GPU runs slowly where there is none."""


class FlowSpec(Spec):
    """Optical flow and its quantisation: clipped to +-bound pixels, mapped linearly to 0..255 (TSN, 001)."""

    algorithm: FlowAlgorithm = "tvl1"
    """`tvl1` (Zach et al. 2007), `brox` (Brox et al. 2004), `farneback` (2003), `dis` (Kroeger et al. 2016), `raft`
    (Teed and Deng 2020)."""
    device: FlowDevice | None = None
    """`cpu` or `gpu`; `tvl1` has a version for each (OpenCV's and ours), whose fields differ slightly. None takes
    `gpu` for on-the-fly flow and else the algorithm's default: `cpu` for `tvl1`, `farneback`, `dis`."""
    raft: RaftVariant = "large"
    """torchvision's model, for the algorithm `raft`."""
    weights: Annotated[str, Field(min_length=1, max_length=1000)] = "default"
    """Weights of `raft`: torchvision's `default`, or the path of a local state-dict file."""
    quantization: FlowQuantization = "linear"
    """`frame_min_max` scales each field by its own range, as 001's code does."""
    storage: FlowStorage = "stored"
    """`on_the_fly` computes stacks on a GPU when a network asks for them and stores nothing."""
    codec: FlowCodec = "raw"
    """How stored flow is packed: `raw` and `png` lose nothing."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Of the codec `jpeg`."""
    bound: Annotated[float, Field(gt=0, le=128)] = 20.0
    stack: Annotated[int, Field(ge=1, le=32)] = 10
    """L, the number of flow fields in a stack; the network sees 2 L channels."""
    shards: Annotated[int, Field(ge=1, le=1024)] = 2
    """Stages over which the clips of a dataset are spread."""

    @property
    def chosen_device(self) -> FlowDevice:
        """Where the flow is computed."""
        if self.device is not None:
            return self.device
        return "gpu" if self.storage == "on_the_fly" else FLOW_DEVICES[self.algorithm][0]

    @model_validator(mode="after")
    def _device_has_algorithm(self) -> FlowSpec:
        if self.chosen_device not in FLOW_DEVICES[self.algorithm]:
            allowed = " or ".join(FLOW_DEVICES[self.algorithm])
            raise ValueError(f"flow.device: got {self.chosen_device} for {self.algorithm}, allowed: {allowed}")
        if self.storage == "on_the_fly" and self.chosen_device != "gpu":
            raise ValueError("flow.storage: got on_the_fly with flow.device cpu, allowed: gpu")
        return self


class MeanPooling(Spec):
    """Mean of the features over time, then one linear layer."""

    kind: Literal["mean_pooling"] = "mean_pooling"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = True


class MaxPooling(Spec):
    """Maximum of the features over time, then one linear layer."""

    kind: Literal["max_pooling"] = "max_pooling"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = True


class TSLSTM(Spec):
    """Temporal Segment LSTM (001, sec. 3.2): batch norm, max over each segment, LSTM over segments."""

    kind: Literal["ts_lstm"] = "ts_lstm"
    segments: Annotated[int, Field(ge=1, le=25)] = 3
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=3)] = (512,)
    """Width of each stacked LSTM layer."""
    pooling: Literal["max", "mean"] = "max"
    batch_norm: bool = True
    shared_batch_norm: bool = False
    """One batch norm for all segments in place of one for each."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


ModelSpec = Annotated[MeanPooling | MaxPooling | TSLSTM, Field(discriminator="kind")]


class EvaluationSpec(Spec):
    """The test protocol; its numbers become the protocol tag beside which results are ranked."""

    frames: Annotated[int, Field(ge=1, le=1000)] = 25
    """Equally spaced frames of each clip, for training features and for the test (001, sec. 4.2)."""
    average: Literal["probabilities", "logits"] = "probabilities"


class FusionSpec(Spec):
    """How two streams become one answer."""

    method: FusionMethod = "probabilities"
    """`features` feeds the temporal network the concatenated features (001); the others fuse the scores of two
    networks: mean of probabilities (000), mean of logits (003, TSN), product of probabilities (002)."""
    rgb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    flow: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class ResourceSpec(Spec):
    """What a stage may use."""

    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """Processes of a training stage, one GPU each; 0 and 1 run one process."""
    timeout_hours: Annotated[float, Field(gt=0, le=1000)] = 72.0


class ExperimentSpec(Spec):
    """One system, over splits, streams and seeds of one dataset."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = "untitled"
    dataset: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    splits: Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], Field(min_length=1, max_length=3)] = (1, 2, 3)
    streams: Annotated[tuple[Stream, ...], Field(min_length=1, max_length=2)] = ("rgb", "flow")
    model: ModelSpec = TSLSTM()
    backbone: BackboneSpec = BackboneSpec()
    flow: FlowSpec = FlowSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    fusion: FusionSpec = FusionSpec()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=20)] = (0,)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    """100 runs first."""
    resources: ResourceSpec = ResourceSpec()

    @model_validator(mode="after")
    def _unique(self) -> ExperimentSpec:
        for field in ("splits", "streams", "seeds"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field}: got {list(values)}, allowed: each value once")
        return self

    @model_validator(mode="after")
    def _scores_can_be_fused(self) -> ExperimentSpec:
        if len(self.streams) > 1 and self.fusion.method == "logits" and self.evaluation.average != "logits":
            raise ValueError(
                f"evaluation.average: got {self.evaluation.average!r}, allowed: 'logits' with fusion.method 'logits'"
            )
        return self

    @model_validator(mode="after")
    def _segments_fit(self) -> ExperimentSpec:
        if isinstance(self.model, TSLSTM) and self.model.segments > self.evaluation.frames:
            raise ValueError(
                f"model.segments: got {self.model.segments}, allowed: 1 to evaluation.frames = {self.evaluation.frames}"
            )
        return self
