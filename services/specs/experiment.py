"""The language of an experiment: what a researcher submits, checked before anything is queued.

Every model is frozen and refuses unknown fields. Defaults are those of the paper or public code named beside them.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from services.specs.backbone import BackboneSpec, EndToEndSpec, features_of
from services.specs.base import Spec, Stream
from services.specs.flow import FlowSpec
from services.specs.networks import TSLSTM, ModelSpec
from services.specs.training import TrainingSpec

FusionMethod = Literal["features", "probabilities", "logits", "product"]
Crops = Literal["center", "stretch", "five", "ten"]


class EvaluationSpec(Spec):
    """The test protocol; its numbers become the protocol tag beside which results are ranked."""

    frames: Annotated[int, Field(ge=1, le=1000)] = 25
    """Equally spaced frames of each clip, for training features and for the test (001, sec. 4.2)."""
    snippet: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Consecutive frames that a network sees at once (002: 30): in training from a random place of a clip, in the test
    from each of `frames` equally spaced places, whose scores are averaged. None shows it the spaced frames."""
    first_seconds: Annotated[float, Field(gt=0, le=10_000)] | None = None
    """Look at no more than the beginning of each clip (001, sec. 4.4: 10 s)."""
    crops: Crops = "center"
    """`center` of a frame (001), all of it stretched to a square (002), or `five` (003) and `ten` (TSN, 000) crops
    whose scores are averaged; the last two for networks that are trained end to end."""
    positions: Annotated[int, Field(ge=1, le=100)] = 1
    """Places inside each of `frames` equal parts of a clip, one group of frames for each; their scores are averaged
    (003: 4 in each of 8 parts). For networks that are trained end to end."""
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


class FlowStreamSpec(Spec):
    """What the network of the flow stream has of its own; what is null is as for rgb."""

    model: ModelSpec | None = None
    """Beside a model that sees both streams: a second network, on flow alone, with which it is fused (002)."""
    backbone: BackboneSpec | None = None
    training: TrainingSpec | None = None
    from_rgb: bool = False
    """Starts from all weights of the trained rgb network, the first convolution averaged over colour (003, sec. 5.2);
    for networks that are trained end to end."""


class NetworkPart(NamedTuple):
    """One temporal network of an experiment: the streams that it sees, and how it is made."""

    streams: tuple[Stream, ...]
    model: ModelSpec
    backbones: dict[Stream, BackboneSpec]
    training: TrainingSpec
    from_rgb: bool = False

    @property
    def end_to_end(self) -> EndToEndSpec | None:
        """How the backbone is trained along, where it is."""
        return self.backbones[self.streams[0]].end_to_end


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
    flow_stream: FlowStreamSpec = FlowStreamSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    fusion: FusionSpec = FusionSpec()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=20)] = (0,)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    """100 runs first."""
    resources: ResourceSpec = ResourceSpec()

    @property
    def networks(self) -> tuple[NetworkPart, ...]:
        """The networks whose scores are fused: one for each stream, or one that sees both."""
        own = self.flow_stream
        backbones: dict[Stream, BackboneSpec] = {"rgb": self.backbone, "flow": own.backbone or self.backbone}
        flow = NetworkPart(("flow",), own.model or self.model, backbones, own.training or self.training, own.from_rgb)
        if self.sees_together:
            both = NetworkPart(self.streams, self.model, backbones, self.training)
            return (both,) if own.model is None else (both, flow)
        rgb = NetworkPart(("rgb",), self.model, backbones, self.training)
        return tuple({"rgb": rgb, "flow": flow}[stream] for stream in self.streams)

    @property
    def sees_together(self) -> bool:
        """Whether one network sees both streams."""
        return len(self.streams) > 1 and (self.fusion.method == "features" or self.model.sees_both)

    @model_validator(mode="after")
    def _unique(self) -> ExperimentSpec:
        for field in ("splits", "streams", "seeds"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field}: got {list(values)}, allowed: each value once")
        return self

    @model_validator(mode="after")
    def _scores_can_be_fused(self) -> ExperimentSpec:
        if len(self.networks) > 1 and self.fusion.method == "logits" and self.evaluation.average != "logits":
            raise ValueError(
                f"evaluation.average: got {self.evaluation.average!r}, allowed: 'logits' with fusion.method 'logits'"
            )
        return self

    @model_validator(mode="after")
    def _networks_see_their_streams(self) -> ExperimentSpec:
        if self.model.sees_both and len(self.streams) < 2:
            raise ValueError(f"streams: got {list(self.streams)}, allowed: rgb and flow for model {self.model.kind}")
        own = self.flow_stream.model
        if own is not None and own.sees_both:
            raise ValueError(f"flow_stream.model.kind: got {own.kind}, allowed: a network of one stream")
        if own is not None and len(self.streams) > 1 and self.fusion.method == "features":
            raise ValueError(f"flow_stream.model: got {own.kind}, allowed: null with fusion.method features")
        if self.flow_stream != FlowStreamSpec() and "flow" not in self.streams:
            raise ValueError(f"flow_stream: got values, allowed: nulls, since streams are {list(self.streams)}")
        return self

    @model_validator(mode="after")
    def _networks_fit(self) -> ExperimentSpec:
        for network in self.networks:
            _require_features(network)
            _require_steps(network, self.evaluation)
            if network.end_to_end is None:
                _require_one_view(self.evaluation)
            else:
                _require_end_to_end(network, self)
        if self.flow_stream.from_rgb:
            _require_alike(self.networks)
        return self


def _require_alike(networks: tuple[NetworkPart, ...]) -> None:
    """What a flow network that starts from the rgb network asks for."""
    by_stream = {network.streams: network for network in networks}
    rgb, flow = by_stream.get(("rgb",)), by_stream.get(("flow",))
    if (
        rgb is None
        or flow is None
        or rgb.end_to_end is None
        or flow.end_to_end is None
        or rgb.model.kind != flow.model.kind
        or rgb.backbones["rgb"].name != flow.backbones["flow"].name
    ):
        raise ValueError(
            "flow_stream.from_rgb: got true, allowed: false, unless both streams have the same kind of model and"
            " backbone, trained end to end"
        )


def _require_features(network: NetworkPart) -> None:
    for stream in network.streams:
        backbone, form = network.backbones[stream], network.model.features[stream]
        allowed = features_of(backbone.name, form)
        if backbone.feature is not None and backbone.feature not in allowed:
            raise ValueError(
                f"backbone.feature: got {backbone.feature}, allowed: {' or '.join(allowed)}, since model"
                f" {network.model.kind} takes a {form} of {stream}"
            )


def _require_steps(network: NetworkPart, look: EvaluationSpec) -> None:
    steps, field = look.frames, "evaluation.frames"
    if network.end_to_end is not None:
        steps, field = min((network.end_to_end.snippets, "backbone.end_to_end.snippets"), (steps, field))
    elif look.snippet is not None:
        steps, field = look.snippet, "evaluation.snippet"
    if network.model.least_steps > steps:
        raise ValueError(f"model.segments: got {network.model.least_steps}, allowed: 1 to {field} = {steps}")


def _require_one_view(look: EvaluationSpec) -> None:
    if look.crops in {"five", "ten"}:
        allowed = "center or stretch, unless backbone.end_to_end is given"
        raise ValueError(f"evaluation.crops: got {look.crops}, allowed: {allowed}")
    if look.positions > 1:
        raise ValueError(f"evaluation.positions: got {look.positions}, allowed: 1, unless backbone.end_to_end is given")


def _require_end_to_end(network: NetworkPart, spec: ExperimentSpec) -> None:
    if not network.model.trains_backbone:
        allowed = "tsn, memory, relational_lstm with backbone.end_to_end"
        raise ValueError(f"model.kind: got {network.model.kind}, allowed: {allowed}")
    if spec.evaluation.snippet is not None:
        allowed = "null with backbone.end_to_end"
        raise ValueError(f"evaluation.snippet: got {spec.evaluation.snippet}, allowed: {allowed}")
    if len(network.streams) > 1:
        allowed = "probabilities, logits or product with backbone.end_to_end"
        raise ValueError(f"fusion.method: got {spec.fusion.method}, allowed: {allowed}")
