"""The language of an experiment: what a researcher submits, checked before anything is queued.

Every model is frozen and refuses unknown fields. Defaults are those of the paper or public code named beside them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.specs.backbone import BackboneSpec, features_of
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
        steps, field = self.evaluation.frames, "evaluation.frames"
        if self.backbone.end_to_end is not None:
            steps, field = min((self.backbone.end_to_end.snippets, "backbone.end_to_end.snippets"), (steps, field))
        elif self.evaluation.snippet is not None:
            steps, field = self.evaluation.snippet, "evaluation.snippet"
        if self.model.least_steps > steps:
            raise ValueError(f"model.segments: got {self.model.least_steps}, allowed: 1 to {field} = {steps}")
        return self

    @model_validator(mode="after")
    def _network_sees_its_streams(self) -> ExperimentSpec:
        if self.model.sees_both and len(self.streams) < 2:
            raise ValueError(f"streams: got {list(self.streams)}, allowed: rgb and flow for model {self.model.kind}")
        return self

    @model_validator(mode="after")
    def _backbone_has_the_feature(self) -> ExperimentSpec:
        for stream in self.streams:
            form = self.model.features[stream]
            allowed = features_of(self.backbone.name, form)
            if self.backbone.feature is not None and self.backbone.feature not in allowed:
                raise ValueError(
                    f"backbone.feature: got {self.backbone.feature}, allowed: {' or '.join(allowed)}, since model"
                    f" {self.model.kind} takes a {form} of {stream}"
                )
        return self

    @model_validator(mode="after")
    def _end_to_end_fits(self) -> ExperimentSpec:
        if self.backbone.end_to_end is None:
            if self.evaluation.crops in {"five", "ten"}:
                raise ValueError(
                    f"evaluation.crops: got {self.evaluation.crops}, allowed: center or stretch, unless"
                    " backbone.end_to_end is given"
                )
            if self.evaluation.positions > 1:
                raise ValueError(
                    f"evaluation.positions: got {self.evaluation.positions}, allowed: 1, unless"
                    " backbone.end_to_end is given"
                )
            return self
        if not self.model.trains_backbone:
            raise ValueError(
                f"model.kind: got {self.model.kind}, allowed: tsn, memory, relational_lstm with backbone.end_to_end"
            )
        if self.evaluation.snippet is not None:
            raise ValueError(
                f"evaluation.snippet: got {self.evaluation.snippet}, allowed: null with backbone.end_to_end"
            )
        if len(self.streams) > 1 and self.fusion.method == "features":
            raise ValueError(
                "fusion.method: got features, allowed: probabilities, logits or product with backbone.end_to_end"
            )
        return self
