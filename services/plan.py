"""Turns a spec into its graph of stages: the same work always gets the same key, whoever asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path

from services.datasets.motion_shapes import MotionShapesParams
from services.specs import Crops, ExperimentSpec, FlowSpec, Stream, TrainingSpec, features_of
from services.stages import (
    AnyParams,
    BackboneParams,
    Edge,
    EndToEndParams,
    ExtractParams,
    FinetuneParams,
    FlowMethodParams,
    FlowParams,
    FuseParams,
    IndexParams,
    ScoreParams,
    StageKind,
    StageSpec,
    TrainParams,
    ViewParams,
)

TWO_STREAM = "two-stream"
CROP_NAMES: dict[Crops, str] = {
    "center": "centre crop",
    "stretch": "stretched frame",
    "five": "5 crops",
    "ten": "10 crops",
}


@dataclass(frozen=True)
class PlannedStage:
    """A stage with the words by which people know it, such as ``train rgb, split 1, seed 0``."""

    spec: StageSpec
    key: str
    label: str


@dataclass
class Plan:
    """Builds the graph of one experiment; ``stages`` lists inputs before what needs them, each key once."""

    spec: ExperimentSpec
    index: IndexParams
    stages: dict[str, PlannedStage] = field(default_factory=dict)

    def build(self) -> tuple[PlannedStage, ...]:
        """Plan every split and seed and return the stages in order."""
        for split, seed in product(self.spec.splits, self.spec.seeds):
            self._plan_result(split, seed)
        return tuple(self.stages.values())

    def _add(self, kind: StageKind, params: AnyParams, inputs: tuple[Edge, ...], label: str) -> str:
        spec = StageSpec(kind=kind, params=params, inputs=inputs)
        key = spec.key
        self.stages.setdefault(key, PlannedStage(spec, key, label))
        return key

    def _plan_result(self, split: int, seed: int) -> None:
        """One number set: score each group of streams that a network sees together, then fuse."""
        spec, place = self.spec, f"split {split}, seed {seed}"
        together = spec.fusion.method == "features" or spec.model.sees_both
        groups = [spec.streams] if together else [(stream,) for stream in spec.streams]
        plan_score = self._plan_score if spec.backbone.end_to_end is None else self._plan_score_end_to_end
        edges = tuple(Edge(name="+".join(streams), key=plan_score(streams, split, seed, place)) for streams in groups)
        weights: dict[Stream, float] = {"rgb": spec.fusion.rgb, "flow": spec.fusion.flow}
        params = FuseParams(
            dataset=spec.dataset,
            split=split,
            seed=seed,
            method=spec.fusion.method if len(groups) > 1 else "features",
            weights={stream: weights[stream] for stream in spec.streams},
        )
        self._add("fuse", params, edges, f"fuse {'+'.join(spec.streams)}, {place}")

    def _plan_score(self, streams: tuple[Stream, ...], split: int, seed: int, place: str) -> str:
        """Train and score on features, which every network on the same backbone shares."""
        spec, label = self.spec, f"{self.spec.model.kind} {'+'.join(streams)}, {place}"
        features = tuple(Edge(name=stream, key=self._plan_features(stream, split, seed)) for stream in streams)
        inputs = (self._index_edge, *features)
        snippet = spec.evaluation.snippet
        train = TrainParams(
            split=split, streams=streams, seed=seed, model=spec.model, training=spec.training, snippet=snippet
        )
        edge = Edge(name="train", key=self._add("train", train, inputs, f"train {label}"))
        score = ScoreParams(
            split=split,
            streams=streams,
            seed=seed,
            model=spec.model,
            average=spec.evaluation.average,
            views=None if snippet is None else ViewParams(frames=spec.evaluation.frames, snippet=snippet),
        )
        return self._add("score", score, (*inputs, edge), f"score {label}")

    def _plan_features(self, stream: Stream, split: int, seed: int) -> str:
        spec, look = self.spec, self.spec.evaluation
        frames, weights = self._frame_edges(stream), self._weight_edges(stream, split, seed)
        params = ExtractParams(
            stream=stream,
            backbone=BackboneParams(name=spec.backbone.name) if weights else self._backbone,
            feature=self._feature(stream),
            frames=look.frames if look.snippet is None else None,
            first_seconds=look.first_seconds,
            crop="stretch" if look.crops == "stretch" else "center",
            flow_stack=spec.flow.stack,  # for rgb too: both streams look at the same frames (001, sec. 4.2)
            flow=self._on_the_fly if stream == "flow" else None,
            seed=seed if not weights and spec.backbone.weights == "none" else None,
        )
        place = f", split {split}, seed {seed}" if weights else ""
        return self._add("extract", params, (*frames, *weights), f"extract {spec.backbone.name} {stream}{place}")

    def _plan_score_end_to_end(self, streams: tuple[Stream, ...], split: int, seed: int, place: str) -> str:
        """Train the network together with its backbone, on frames of one stream, and score it on frames."""
        spec, (stream,) = self.spec, streams
        recipe, look = spec.backbone.end_to_end, spec.evaluation
        assert recipe is not None
        frames, weights = self._frame_edges(stream), self._weight_edges(stream, split, seed)
        params = EndToEndParams(
            stream=stream,
            backbone=BackboneParams(name=spec.backbone.name) if weights else self._backbone,
            feature=self._feature(stream),
            flow_stack=spec.flow.stack,
            flow=self._on_the_fly if stream == "flow" else None,
            snippets=recipe.snippets,
            augmentation=recipe.augmentation,
            first_seconds=look.first_seconds,
        )
        label = f"{spec.model.kind} {stream} end to end, {place}"
        train = TrainParams(
            split=split, streams=streams, seed=seed, model=spec.model, training=spec.training, end_to_end=params
        )
        edge = Edge(name="train", key=self._add("train", train, (*frames, *weights), f"train {label}"))
        score = ScoreParams(
            split=split,
            streams=streams,
            seed=seed,
            model=spec.model,
            average=look.average,
            views=ViewParams(frames=look.frames, positions=look.positions, crops=look.crops),
            end_to_end=params,
        )
        return self._add("score", score, (*frames, edge), f"score {label}")

    def _frame_edges(self, stream: Stream) -> tuple[Edge, ...]:
        """What reading frames of a stream takes."""
        return (self._index_edge, *(self._flow_edges if stream == "flow" else ()))

    def _weight_edges(self, stream: Stream, split: int, seed: int) -> tuple[Edge, ...]:
        """The trained backbone, where there is one."""
        if self.spec.backbone.finetune is None:
            return ()
        return (Edge(name="finetune", key=self._plan_finetune(stream, split, seed)),)

    def _feature(self, stream: Stream) -> str:
        backbone = self.spec.backbone
        return backbone.feature or features_of(backbone.name, self.spec.model.features[stream])[0]

    def _plan_finetune(self, stream: Stream, split: int, seed: int) -> str:
        recipe = self.spec.backbone.finetune
        assert recipe is not None
        own = {"samples_per_clip", "dropout", "augmentation"}
        params = FinetuneParams(
            split=split,
            stream=stream,
            seed=seed,
            backbone=self._backbone,
            flow_stack=self.spec.flow.stack if stream == "flow" else 0,
            flow=self._on_the_fly if stream == "flow" else None,
            samples_per_clip=recipe.samples_per_clip,
            dropout=recipe.dropout,
            augmentation=recipe.augmentation,
            training=TrainingSpec.model_validate(recipe.model_dump(exclude=own)),
        )
        label = f"finetune {self.spec.backbone.name} {stream}, split {split}, seed {seed}"
        return self._add("finetune", params, self._frame_edges(stream), label)

    @cached_property
    def _index_edge(self) -> Edge:
        return Edge(name="index", key=self._add("index", self.index, (), f"index {self.spec.dataset}"))

    @cached_property
    def _flow_edges(self) -> tuple[Edge, ...]:
        return tuple(self._flow_shards())

    def _flow_shards(self) -> Iterator[Edge]:
        flow = self.spec.flow
        if flow.storage == "on_the_fly":
            return
        kind: StageKind = "gpu_flow" if flow.chosen_device == "gpu" else "flow"
        for shard in range(flow.shards):
            params = FlowParams(
                **dict(self._flow_method),
                codec=flow.codec,
                jpeg_quality=flow.jpeg_quality if flow.codec == "jpeg" else None,
                shard=shard,
                shards=flow.shards,
            )
            label = f"flow {flow.algorithm}, shard {shard + 1} of {flow.shards}"
            yield Edge(name=f"flow/{shard}", key=self._add(kind, params, (self._index_edge,), label))

    @cached_property
    def _flow_method(self) -> FlowMethodParams:
        flow = self.spec.flow
        params = FlowMethodParams(algorithm=flow.algorithm, bound=flow.bound, quantization=flow.quantization)
        if flow.algorithm != "raft":
            return params
        found = {"raft": flow.raft, "weights": flow.weights, "digest": _file_digest(flow.weights)}
        return params.model_copy(update=found)

    @property
    def _on_the_fly(self) -> FlowMethodParams | None:
        return self._flow_method if self.spec.flow.storage == "on_the_fly" else None

    @cached_property
    def _backbone(self) -> BackboneParams:
        spec = self.spec.backbone
        return BackboneParams(name=spec.name, weights=spec.weights, digest=_file_digest(spec.weights))


def plan(spec: ExperimentSpec, index: IndexParams) -> tuple[PlannedStage, ...]:
    """Return the stages of an experiment, inputs first.

    Args:
        spec: what was submitted.
        index: the registered dataset that ``spec.dataset`` names.
    """
    return Plan(spec, index).build()


def protocol(spec: ExperimentSpec, stream: str) -> str:
    """Return how a number was measured, in one line; numbers are ranked beside equal lines only.

    Example: ``25 frames, centre crop, probabilities, last epoch; flow tvl1 +-20, stack 10``.
    """
    look = spec.evaluation
    frames = f"{look.frames} frames" if look.snippet is None else f"{look.frames} snippets of {look.snippet} frames"
    frames += f" at {look.positions} positions" if look.positions > 1 else ""
    frames += f" of the first {look.first_seconds:g} s" if look.first_seconds is not None else ""
    line = f"{frames}, {CROP_NAMES[look.crops]}, {look.average}, last epoch"
    if stream == "rgb":
        return line
    return f"{line}; {_flow_protocol(spec.flow)}, stack {spec.flow.stack}"


def _flow_protocol(flow: FlowSpec) -> str:
    """Name what changes the bytes that a network sees; where flow is stored does not, how it is packed may."""
    algorithm = {"raft": f"raft-{flow.raft}", "tvl1": "tvl1-gpu" if flow.chosen_device == "gpu" else "tvl1"}
    line = f"flow {algorithm.get(flow.algorithm, flow.algorithm)} +-{flow.bound:g}"
    line += " frame min-max" if flow.quantization == "frame_min_max" else ""
    return line + (f" jpeg {flow.jpeg_quality}" if flow.storage == "stored" and flow.codec == "jpeg" else "")


def index_params(
    name: str,
    *,
    root: str,
    annotations: str,
    revision: int,
    generator: dict[str, int] | None,
    layout: str = "ucf101",
) -> IndexParams:
    """Return the parameters of the `index` stage of a registered dataset."""
    made = None if generator is None else MotionShapesParams.model_validate(generator)
    found = {"dataset": name, "layout": layout, "root": root, "annotations": annotations, "revision": revision}
    return IndexParams.model_validate({**found, "generator": made})


def _file_digest(weights: str) -> str | None:
    if weights in {"none", "imagenet", "default"}:
        return None
    try:
        with Path(weights).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # only the workers may have it; one that has not says so by name
        return None
