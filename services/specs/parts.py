"""Parts of an experiment: its test protocol, fusion, resources, and what the flow stream has of its own."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from services.specs.backbone import BackboneSpec, EndToEndSpec, features_of
from services.specs.base import Spec, Stream
from services.specs.networks import ModelSpec
from services.specs.training import TrainingSpec

FusionMethod = Literal["features", "probabilities", "logits", "product"]
Crops = Literal["center", "stretch", "five", "ten"]
Spacing = Literal["even", "whole_step"]


class LocalizationSpec(Spec):
    """Where the action is: a box in every frame of each test clip, from attention (VideoLSTM, sec. 4)."""

    threshold: Annotated[float, Field(gt=0, le=255)] = 100.0
    """Of saliency, which goes from 0 to 255 in each frame (VideoLSTM, sec. 5.4: 100)."""
    smoothing: Annotated[int, Field(ge=1, le=1000)] = 25
    """Frames over which boxes are smoothed by a locally weighted line (VideoLSTM, sec. 4, which does not say how many);
    1 leaves them as they are."""


PICTURES = 8
"""Test clips of which a `score` stage leaves pictures, unless a spec says otherwise."""


class EvaluationSpec(Spec):
    """The test protocol; its numbers become the protocol tag beside which results are ranked."""

    later: ClassVar[frozenset[str]] = frozenset({"pictures"})

    frames: Annotated[int, Field(ge=1, le=1000)] = 25
    """Equally spaced frames of each clip, for training features and for the test (TS-LSTM, sec. 3.4.1)."""
    snippet: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Consecutive frames that a network sees at once (VideoLSTM: 30): in training from a random place of a clip, in the
    test from each of `frames` equally spaced places, whose scores are averaged. None shows it the spaced frames."""
    spacing: Spacing = "even"
    """How spaced frames lie: `even`, from one end of a clip to the other, or `whole_step`, as TS-LSTM's code has it:
    a whole number of frames apart, so that the end of a clip may never be seen."""
    first_seconds: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Look at no more than the beginning of each clip (TS-LSTM, sec. 4.4: 10 s), in training and in the test."""
    crops: Crops = "center"
    """`center` of a frame (TS-LSTM), all of it stretched to a square (VideoLSTM), or `five` (Relational LSTM) and
    `ten` (TSN, MATDL) crops whose scores are averaged; the last two for networks that see frames: those that are
    trained end to end, and a `convnet` with its fine-tuned classifier."""
    positions: Annotated[int, Field(ge=1, le=100)] = 1
    """Places inside each of `frames` equal parts of a clip, one group of frames for each; their scores are averaged
    (Relational LSTM: 4 in each of 8 parts). For networks that see frames."""
    average: Literal["probabilities", "logits"] = "probabilities"
    localization: LocalizationSpec | None = None
    """Localise the action in test clips, by networks that attend: alstm, conv_alstm, motion_alstm, video_lstm."""
    pictures: Annotated[int, Field(ge=0, le=200)] = PICTURES
    """Test clips, spread over the classes, of which a small strip of frames is kept, so that attention, memory writes
    and tubes can be drawn on them. It changes no number; another one than 8 scores anew, with the same weights."""


class FusionSpec(Spec):
    """How two streams become one answer."""

    method: FusionMethod = "probabilities"
    """`features` feeds the temporal network the concatenated features (TS-LSTM); the others fuse the scores of two
    networks: mean of probabilities (MATDL), mean of logits (Relational LSTM, TSN), product of probabilities
    (VideoLSTM)."""
    rgb: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    flow: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


class ResourceSpec(Spec):
    """What a stage may use."""

    gpus: Annotated[int, Field(ge=0, le=64)] = 1
    """Processes of a training stage, one GPU each; 0 and 1 run one process."""
    timeout_hours: Annotated[float, Field(gt=0, le=1000)] = 72.0


class FlowStreamSpec(Spec):
    """What the network of the flow stream has of its own; what is null is as for rgb."""

    model: ModelSpec | None = None
    """Beside a model that sees both streams: a second network, on flow alone, with which it is fused (VideoLSTM)."""
    backbone: BackboneSpec | None = None
    training: TrainingSpec | None = None
    from_rgb: bool = False
    """Starts from all weights of the trained rgb network, the first convolution averaged over colour (Relational
    LSTM, sec. 5.2); for networks that are trained end to end."""


class NetworkPart(NamedTuple):
    """One temporal network of an experiment: the streams that it sees, and how it is made.

    ``own`` names the parts that `flow_stream` gives, so that an error can say where they stand.
    """

    streams: tuple[Stream, ...]
    model: ModelSpec
    backbones: dict[Stream, BackboneSpec]
    training: TrainingSpec
    own: frozenset[str] = frozenset()
    from_rgb: bool = False

    @property
    def end_to_end(self) -> EndToEndSpec | None:
        """How the backbone is trained along, where it is."""
        return next((found for stream in self.streams if (found := self.backbones[stream].end_to_end)), None)

    @property
    def sees_frames(self) -> bool:
        """Whether the backbone is a part of the network, which sees frames in place of features."""
        return self.end_to_end is not None or self.model.is_finetuned

    @property
    def first_weights(self) -> list[tuple[str, object]]:
        """What its backbones and the network itself start from, each with the field that says it."""
        backbones = [(f"{self.field('backbone', own)}.weights", self.backbones[own].weights) for own in self.streams]
        return [*backbones, (f"{self.field('model')}.weights", self.model.weights)]

    def feature(self, stream: Stream) -> str:
        """Return the name of what the network sees of a stream's backbone."""
        backbone = self.backbones[stream]
        return backbone.feature or features_of(backbone.name, self.model.features[stream])[0]

    def field(self, part: str, stream: Stream | None = None) -> str:
        """Return where in the spec a part stands, of a stream or of the network."""
        is_own = part in self.own and (stream or self.streams[0]) == "flow"
        return f"flow_stream.{part}" if is_own else part
