"""The language of an experiment: what a researcher submits, checked before anything is queued.

Every model is frozen and refuses unknown fields. Defaults are those of the paper or public code named beside them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from services.errors import refused
from services.specs.backbone import BackboneSpec
from services.specs.base import Spec, Stream
from services.specs.checks import (
    require_alike,
    require_attention,
    require_batches,
    require_end_to_end,
    require_features,
    require_finetuned,
    require_one_view,
    require_spacing,
    require_steps,
    require_weights,
)
from services.specs.ensemble import SystemStream
from services.specs.flow import FlowSpec
from services.specs.networks import TSLSTM, ModelSpec
from services.specs.parts import EvaluationSpec, FlowStreamSpec, FusionSpec, NetworkPart, ResourceSpec
from services.specs.training import TrainingSpec
from services.texts import Title


class ExperimentSpec(Spec):
    """One system, over splits, streams and seeds of one dataset."""

    name: Title = "untitled"
    dataset: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    splits: Annotated[tuple[Annotated[int, Field(ge=1, le=3)], ...], Field(min_length=1, max_length=3)] = (1, 2, 3)
    streams: Annotated[tuple[Stream, ...], Field(min_length=1, max_length=2)] = ("rgb", "flow")
    model: ModelSpec = TSLSTM()
    backbone: BackboneSpec = BackboneSpec()
    flow: FlowSpec = FlowSpec()
    training: TrainingSpec = TrainingSpec()
    flow_stream: FlowStreamSpec | None = None
    evaluation: EvaluationSpec = EvaluationSpec()
    fusion: FusionSpec = FusionSpec()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1, max_length=20)] = (0,)
    priority: Annotated[int, Field(ge=0, le=100)] = 50
    """100 runs first."""
    refresh: bool = False
    """Register the dataset anew, as its next revision, if its lists have changed since; else that is refused."""
    resources: ResourceSpec = ResourceSpec()

    @property
    def networks(self) -> tuple[NetworkPart, ...]:
        """The networks whose scores are fused: one for each stream, or one that sees both."""
        own = self.flow_stream or FlowStreamSpec()
        given = frozenset(name for name in ("model", "backbone", "training") if getattr(own, name) is not None)
        backbones: dict[Stream, BackboneSpec] = {"rgb": self.backbone, "flow": own.backbone or self.backbone}
        training = own.training or self.training
        flow = NetworkPart(("flow",), own.model or self.model, backbones, training, given, own.from_rgb)
        if self.sees_together:
            both = NetworkPart(self.streams, self.model, backbones, self.training, given & {"backbone"})
            return (both,) if own.model is None else (both, flow)
        rgb = NetworkPart(("rgb",), self.model, backbones, self.training)
        return tuple({"rgb": rgb, "flow": flow}[stream] for stream in self.streams)

    @property
    def sees_together(self) -> bool:
        """Whether one network sees both streams."""
        return len(self.streams) > 1 and (self.fusion.method == "features" or self.model.sees_both)

    @property
    def systems(self) -> tuple[SystemStream, ...]:
        """As what the results are filed: each stream, and both together.

        A network of rgb that flow steers is one of rgb, with and without a second network beside it (VideoLSTM,
        sec. 3.2).
        """
        if len(self.streams) > 1 and len(self.networks) == 1 and self.model.sees_both:
            return ("rgb",)
        return self.streams if len(self.streams) == 1 else (*self.streams, "two-stream")

    @model_validator(mode="after")
    def _unique(self) -> ExperimentSpec:
        for field in ("splits", "streams", "seeds"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise refused(field, list(values), "each value once")
        return self

    @model_validator(mode="after")
    def _scores_can_be_fused(self) -> ExperimentSpec:
        if len(self.networks) < 2:
            return self
        if self.fusion.method == "logits" and self.evaluation.average != "logits":
            raise refused("evaluation.average", self.evaluation.average, "'logits' with fusion.method 'logits'")
        if self.fusion.rgb == self.fusion.flow == 0:
            raise refused("fusion.rgb", self.fusion.rgb, "above 0, since fusion.flow is 0")
        return self

    @model_validator(mode="after")
    def _networks_see_their_streams(self) -> ExperimentSpec:
        if self.model.sees_both and len(self.streams) < 2:
            raise refused("streams", list(self.streams), f"rgb and flow for model {self.model.kind}")
        own = self.flow_stream
        if own is None:
            return self
        if "flow" not in self.streams:
            raise refused("flow_stream", _given(own), f"null, since streams are {list(self.streams)}")
        if own.model is not None and own.model.sees_both:
            raise refused("flow_stream.model.kind", own.model.kind, "a network of one stream")
        if own.model is not None and len(self.streams) > 1 and self.fusion.method == "features":
            raise refused("flow_stream.model", _given(own.model), "null with fusion.method features")
        if own.training is not None and self.sees_together and own.model is None:
            raise refused("flow_stream.training", _given(own.training), "null, since one network sees both streams")
        return self

    @model_validator(mode="after")
    def _networks_fit(self) -> ExperimentSpec:
        for network in self.networks:
            require_features(network)
            require_weights(network)
            require_steps(network, self.evaluation)
            require_batches(network, self.resources)
            if network.model.is_finetuned:
                require_finetuned(network, self.evaluation, self.fusion)
            elif network.end_to_end is None:
                require_one_view(self.evaluation)
            else:
                require_end_to_end(network, self.evaluation, self.fusion)
        require_attention(self.networks, self.evaluation)
        require_spacing(self.evaluation)
        if self.flow_stream is not None and self.flow_stream.from_rgb:
            require_alike(self.networks)
        return self


def _given(part: Spec) -> dict[str, Any]:
    """Return a part as its author wrote it, without defaults."""
    return part.model_dump(mode="json", exclude_unset=True)
