"""What the parameters of stages are made of: their base, streams, backbones, flow, and what a network sees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from services.specs import (
    FLOW_SHORT_SIDE,
    Crops,
    FlowAlgorithm,
    FlowQuantization,
    ModelSpec,
    Normalization,
    RaftVariant,
    Spacing,
    Stream,
    TrainingSpec,
)

FrameCount = Annotated[int, Field(ge=1, le=1000)]
Seconds = Annotated[float, Field(gt=0, le=10_000)]


class Params(BaseModel):
    """Base of every stage's parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def key_content(self) -> dict[str, Any]:
        """Return what of them is part of a stage's key: all that changes what the output means."""
        return self.model_dump(mode="json")


class NetworkParams(Params):
    """What training and test of a network have in common.

    ``model.weights`` is ``none`` or a file; weights of a stage are an input.
    """

    split: int
    streams: tuple[Stream, ...]
    seed: int
    model: ModelSpec

    def key_content(self) -> dict[str, Any]:
        """Leave out options of a network that came later where they say what was the rule before."""
        content = super().key_content()
        if not self.model.is_finetuned:
            content["model"].pop("classifier", None)
        if self.model.weights == "none":
            content["model"].pop("weights")
        if content.get("digest", "") is None:
            content.pop("digest")
        return content


class FlowMethodParams(Params):
    """How two frames become bytes of motion.

    ``raft``, ``weights`` and ``digest`` (SHA-256 of a weights file that the planner could read) are None for all
    algorithms but ``raft``. ``resize`` is the short side to which larger frames are brought; None keeps every size.
    """

    algorithm: FlowAlgorithm
    bound: Annotated[float, Field(gt=0, le=128)]
    quantization: FlowQuantization = "linear"
    raft: RaftVariant | None = None
    weights: str | None = None
    digest: str | None = None
    resize: int | None = FLOW_SHORT_SIDE

    @model_serializer(mode="wrap")
    def _without_usual_size(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default size out, so that keys stay what they were before there was a choice.

        Frames of the papers' datasets are smaller, so that their flow is the same, and took days to compute.
        """
        content: dict[str, Any] = dump(self)
        if self.resize == FLOW_SHORT_SIDE:
            content.pop("resize", None)
        return content


class BackboneParams(Params):
    """A ConvNet and where its first weights come from: ``none``, ``imagenet``, or a file; a stage's are an input.

    ``digest`` is the file's SHA-256 where the planner could read it, so that another file under the same name is
    other work.
    """

    name: str
    weights: str = "none"
    digest: str | None = None
    normalization: Normalization = "weights"


class StreamParams(Params):
    """Frames of one stream and the ConvNet that takes them: rgb frames, or stacks of ``flow_stack`` flow fields.

    ``flow`` says how stacks are computed on the fly, and is None where they are read from `flow` stages.
    """

    stream: Stream
    backbone: BackboneParams
    flow_stack: Annotated[int, Field(ge=0, le=32)]
    flow: FlowMethodParams | None = None


HeldOutBy = Literal["group", "film"]
"""What is held out of a train list as a whole: clips of one number in their names, or of one film (HMDB51)."""


class TrainedParams(Params):
    """Training of some network.

    ``held_out_by`` is ``film`` where a training holds a part of HMDB51's train list out; else no part of the key.
    """

    training: TrainingSpec
    held_out_by: HeldOutBy = "group"

    def key_content(self) -> dict[str, Any]:
        """Return what is part of the key; the spec says what of it is."""
        content = super().key_content() | {"training": self.training.key_content()}
        if self.held_out_by == "group":
            content.pop("held_out_by")
        return content


class SpacedFeatures(Params):
    """Features of equally spaced frames, by an `extract` stage for each stream: all steps at once (TS-LSTM)."""

    kind: Literal["spaced_features"] = "spaced_features"


class Snippets(Params):
    """Features of every frame, by an `extract` stage for each stream: ``length`` steps in a row (VideoLSTM, sec. 5.2).

    In training they begin at a random step of a clip.
    """

    kind: Literal["snippets"] = "snippets"
    length: FrameCount


class SnippetViews(Snippets):
    """The test on snippets: ``count`` of each clip, equally spaced, whose scores are averaged."""

    count: FrameCount


class Frames(StreamParams):
    """Frames, or flow stacks, of one stream: the backbone is a part of the network (TSN, MATDL, Relational LSTM).

    ``feature`` is what the rest of the network sees of it; no more than ``first_seconds`` of a clip are looked at (None
    for all of it).
    """

    kind: Literal["frames"] = "frames"
    feature: str
    first_seconds: Seconds | None = None


class FrameSamples(Frames):
    """The training on frames: one at random of each of ``snippets`` equal parts of a clip."""

    snippets: int
    augmentation: bool


class Spaced(Params):
    """Equally spaced frames of a clip; ``spacing`` says by which rule, see `EvaluationSpec`."""

    spacing: Spacing = "even"

    @model_serializer(mode="wrap")
    def _without_usual_spacing(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default out, so that keys stay what they were before there was a choice."""
        content: dict[str, Any] = dump(self)
        if self.spacing == "even":
            content.pop("spacing", None)
        return content


class FrameViews(Frames, Spaced):
    """The test on frames: ``positions`` groups of ``frames``, times the crops of each, whose scores are averaged."""

    frames: FrameCount
    positions: Annotated[int, Field(ge=1, le=100)] = 1
    crops: Crops = "center"


TrainInput = Annotated[SpacedFeatures | Snippets | FrameSamples, Field(discriminator="kind")]
"""What a network is trained on."""
ScoreInput = Annotated[SpacedFeatures | SnippetViews | FrameViews, Field(discriminator="kind")]
"""What a network is tested on: the same kind."""


class SampledFrames(Spaced):
    """Which frames of a clip the steps of its features are, and which part of a frame a map covers: see ExtractParams.

    ``backbone`` names what made the maps; the size of its input decides what a centre crop leaves out.
    """

    backbone: str
    frames: FrameCount | None
    flow_stack: Annotated[int, Field(ge=0, le=32)]
    first_seconds: Seconds | None = None
    crop: Literal["center", "stretch"] = "center"


class BoxFile(Params):
    """A file of true boxes; ``digest`` is its SHA-256 where the API could read it."""

    path: str
    digest: str | None = None
