"""Turns a spec into its graph of stages: the same work always gets the same key, whoever asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path

from services.datasets.motion_shapes import MotionShapesParams
from services.specs import ExperimentSpec, FlowSpec, Stream, TrainingSpec
from services.stages import (
    AnyParams,
    BackboneParams,
    Edge,
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
)

TWO_STREAM = "two-stream"


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
        groups = [spec.streams] if spec.fusion.method == "features" else [(stream,) for stream in spec.streams]
        edges = tuple(
            Edge(name="+".join(streams), key=self._plan_score(streams, split, seed, place)) for streams in groups
        )
        weights: dict[Stream, float] = {"rgb": spec.fusion.rgb, "flow": spec.fusion.flow}
        params = FuseParams(
            dataset=spec.dataset,
            split=split,
            seed=seed,
            method=spec.fusion.method if len(spec.streams) > 1 else "features",
            weights={stream: weights[stream] for stream in spec.streams},
        )
        self._add("fuse", params, edges, f"fuse {'+'.join(spec.streams)}, {place}")

    def _plan_score(self, streams: tuple[Stream, ...], split: int, seed: int, place: str) -> str:
        spec, name = self.spec, "+".join(streams)
        features = tuple(Edge(name=stream, key=self._plan_features(stream, split, seed)) for stream in streams)
        inputs = (self._index_edge, *features)
        train = TrainParams(split=split, streams=streams, seed=seed, model=spec.model, training=spec.training)
        train_key = self._add("train", train, inputs, f"train {spec.model.kind} {name}, {place}")
        score = ScoreParams(split=split, streams=streams, seed=seed, model=spec.model, average=spec.evaluation.average)
        return self._add(
            "score", score, (*inputs, Edge(name="train", key=train_key)), f"score {spec.model.kind} {name}, {place}"
        )

    def _plan_features(self, stream: Stream, split: int, seed: int) -> str:
        spec = self.spec
        inputs = (self._index_edge, *(self._flow_edges if stream == "flow" else ()))
        place = ""
        trained = spec.backbone.finetune is not None
        if trained:
            place = f", split {split}, seed {seed}"
            inputs += (Edge(name="finetune", key=self._plan_finetune(stream, split, seed, inputs)),)
        params = ExtractParams(
            stream=stream,
            backbone=BackboneParams(name=spec.backbone.name) if trained else self._backbone,
            frames=spec.evaluation.frames,
            flow_stack=spec.flow.stack,  # for rgb too: both streams look at the same frames (001, sec. 4.2)
            flow=self._on_the_fly if stream == "flow" else None,
            seed=seed if not trained and spec.backbone.weights == "none" else None,
        )
        return self._add("extract", params, inputs, f"extract {spec.backbone.name} {stream}{place}")

    def _plan_finetune(self, stream: Stream, split: int, seed: int, inputs: tuple[Edge, ...]) -> str:
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
        return self._add("finetune", params, inputs, label)

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
    line = f"{spec.evaluation.frames} frames, centre crop, {spec.evaluation.average}, last epoch"
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
