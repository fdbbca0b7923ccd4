"""Turns a spec into its graph of stages: the same work always gets the same key, whoever asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from services.params import (
    BackboneParams,
    BoxFile,
    FlowMethodParams,
    Frames,
    FrameSamples,
    FrameViews,
    Params,
    SampledFrames,
    ScoreInput,
    Snippets,
    SnippetViews,
    SpacedFeatures,
    TrainInput,
)
from services.planning.planned import Place, PlannedStage, Sources, Wanted, no_sources
from services.planning.weights_file import file_digest
from services.specs import (
    BackboneSpec,
    ExperimentSpec,
    FinetuneSpec,
    LocalizationSpec,
    NetworkPart,
    Part,
    StageWeights,
    Stream,
    TrainingSpec,
)
from services.stages import (
    Edge,
    ExtractParams,
    FinetuneParams,
    FlowParams,
    FuseParams,
    IndexParams,
    LocalizeParams,
    ScoreParams,
    StageKind,
    StageSpec,
    TrainParams,
)


@dataclass
class Plan:
    """Builds the graph of one experiment; ``stages`` lists inputs before what needs them, each key once.

    ``digests`` are of the weights files that were read, by what the spec calls them; ``boxes`` are the dataset's;
    ``sources`` finds the stages whose weights the spec names.
    """

    spec: ExperimentSpec
    index: IndexParams
    stages: dict[str, PlannedStage] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    boxes: BoxFile | None = None
    sources: Sources = no_sources

    def build(self) -> tuple[PlannedStage, ...]:
        """Plan every split and seed and return the stages in order."""
        for split, seed in product(self.spec.splits, self.spec.seeds):
            self._plan_result(split, seed)
        return tuple(self.stages.values())

    def build_part(self, network: NetworkPart, part: Part, stream: Stream, place: Place) -> tuple[PlannedStage, ...]:
        """Plan what trains a network, or the ConvNet of a stream, and return the stages up to it."""
        backbone = network.backbones[stream]
        if part == "model":
            key = self._plan_train(network, place, self._seen_edges(network, place))
        else:
            assert backbone.finetune is not None
            key = self._plan_finetune(backbone, backbone.finetune, stream, place)
        assert key == [*self.stages][-1]
        return tuple(self.stages.values())

    def _add(self, kind: StageKind, params: Params, inputs: tuple[Edge, ...], label: str) -> str:
        spec = StageSpec(kind=kind, params=params, inputs=inputs)
        key = spec.key
        self.stages.setdefault(key, PlannedStage(spec, key, label))
        return key

    def add_system(self, stream: str, split: int, seed: int) -> str | None:
        """Plan what scores a stream, or ``two-stream``, needs, and return the stage that has them; None for no such."""
        if stream == "two-stream":
            return self._plan_result(split, seed) if stream in self.spec.systems else None
        filed = ((("rgb",) if part.model.sees_both else part.streams, part) for part in self.spec.networks)
        part = next((part for streams, part in filed if streams == (stream,)), None)
        return None if part is None else self._plan_score(part, Place(split, seed))

    def _plan_result(self, split: int, seed: int) -> str:
        """One number set: train and score each network, then fuse."""
        spec, place = self.spec, Place(split, seed)
        edges = [Edge(name="+".join(part.streams), key=self._plan_score(part, place)) for part in spec.networks]
        weights: dict[Stream, float] = {"rgb": spec.fusion.rgb, "flow": spec.fusion.flow}
        params = FuseParams(
            dataset=spec.dataset,
            split=split,
            seed=seed,
            method=spec.fusion.method if len(edges) > 1 else "features",
            weights={stream: weights[stream] for stream in spec.streams if stream in spec.systems},
        )
        return self._add("fuse", params, tuple(edges), f"fuse {'+'.join(spec.streams)}, {place}")

    def _plan_score(self, network: NetworkPart, place: Place) -> str:
        """Train a network and score it, on what it sees of clips."""
        seen = self._seen_edges(network, place)
        if network.model.is_finetuned:
            (stream,) = network.streams
            (trained,) = self._weight_edges(network.backbones[stream], stream, place)
        else:
            trained = Edge(name="train", key=self._plan_train(network, place, seen))
        params = ScoreParams(
            **place._asdict(),
            streams=network.streams,
            model=network.model.model_copy(update={"weights": "none"}),
            average=self.spec.evaluation.average,
            input=self._score_input(network),
        )
        score = self._add("score", params, (*seen, trained), f"score {_label(network, place)}")
        if self.spec.evaluation.localization is not None and network.model.attends:
            self._plan_tubes(self.spec.evaluation.localization, network, place, (*seen, trained), score)
        return score

    def _plan_tubes(
        self, wanted: LocalizationSpec, network: NetworkPart, place: Place, seen: tuple[Edge, ...], score: str
    ) -> None:
        """Localise the actions of test clips, by a network that attends."""
        spec, look, stream = self.spec, self.spec.evaluation, network.streams[0]
        sampled = SampledFrames(
            backbone=network.backbones[stream].name,
            frames=look.frames if look.snippet is None else None,
            flow_stack=spec.flow.stack,
            first_seconds=look.first_seconds,
            crop="stretch" if look.crops == "stretch" else "center",
        )
        params = LocalizeParams(
            **place._asdict(),
            streams=network.streams,
            model=network.model,
            input=SpacedFeatures() if look.snippet is None else SnippetViews(length=look.snippet, count=look.frames),
            sampled=sampled,
            threshold=wanted.threshold,
            smoothing=wanted.smoothing,
            boxes=self.boxes,
            generator=self.index.generator,
        )
        edges = (*seen, Edge(name="score", key=score))
        self._add("localize", params, edges, f"localize {_label(network, place)}")

    def _plan_train(self, network: NetworkPart, place: Place, seen: tuple[Edge, ...]) -> str:
        weights, model = self._first_edges(network, place), network.model
        file = model.weights if isinstance(model.weights, str) else "none"
        params = TrainParams(
            **place._asdict(),
            streams=network.streams,
            model=model.model_copy(update={"weights": "none" if network.from_rgb else file}),
            training=network.training,
            input=self._train_input(network, trained=bool(weights)),
            digest=self._digest(f"{network.field('model')}.weights", file),
        )
        parts = () if network.from_rgb else tuple(self._model_edges(network, place))
        return self._add("train", params, (*seen, *weights, *parts), f"train {_label(network, place)}")

    def _model_edges(self, network: NetworkPart, place: Place) -> Iterator[Edge]:
        """The trained networks that a network starts from, each with the part that takes its weights."""
        field, wanted = f"{network.field('model')}.weights", Wanted("model", network.streams, place.split)
        for number, weights in enumerate(network.model.trained_parts):
            yield Edge(name=f"model/{number}/{weights.into}", key=self._find(field, weights, wanted))

    def _find(self, field: str, weights: StageWeights, wanted: Wanted) -> str:
        stages = self.sources(field, weights, wanted)
        for stage in stages:
            self.stages.setdefault(stage.key, stage)
        return stages[-1].key

    def _seen_edges(self, network: NetworkPart, place: Place) -> tuple[Edge, ...]:
        """What a network sees of clips: frames, or features, which every network on the same backbone shares."""
        if network.sees_frames:
            return self._frame_edges(network.streams[0])
        features = (Edge(name=stream, key=self._plan_features(network, stream, place)) for stream in network.streams)
        return (self._index_edge, *features)

    def _first_edges(self, network: NetworkPart, place: Place) -> tuple[Edge, ...]:
        """Whose weights a network starts from: those of a fine-tuned backbone, or of the trained rgb network."""
        if network.end_to_end is None:
            return ()
        if network.from_rgb:
            rgb = next(other for other in self.spec.networks if other.streams == ("rgb",))
            return (Edge(name="train", key=self._plan_train(rgb, place, self._frame_edges("rgb"))),)
        (stream,) = network.streams
        return self._weight_edges(network.backbones[stream], stream, place)

    def _train_input(self, network: NetworkPart, *, trained: bool) -> TrainInput:
        snippet, recipe = self.spec.evaluation.snippet, network.end_to_end
        if recipe is not None:
            backbone = network.backbones[network.streams[0]]
            frames = self._frames(network, _as_trained(backbone) if trained else self._first_weights(backbone))
            return FrameSamples(**dict(frames), snippets=recipe.snippets, augmentation=recipe.augmentation)
        return SpacedFeatures() if snippet is None else Snippets(length=snippet)

    def _score_input(self, network: NetworkPart) -> ScoreInput:
        look = self.spec.evaluation
        if network.sees_frames:
            frames = self._frames(network, _as_trained(network.backbones[network.streams[0]]))
            return FrameViews(**dict(frames), frames=look.frames, positions=look.positions, crops=look.crops)
        return SpacedFeatures() if look.snippet is None else SnippetViews(length=look.snippet, count=look.frames)

    def _frames(self, network: NetworkPart, backbone: BackboneParams) -> Frames:
        (stream,) = network.streams
        return Frames(
            stream=stream,
            backbone=backbone,
            feature=network.feature(stream),
            flow_stack=self.spec.flow.stack,  # for rgb too: both streams look at the same frames
            flow=self._on_the_fly if stream == "flow" else None,
            first_seconds=self.spec.evaluation.first_seconds,
        )

    def _plan_features(self, network: NetworkPart, stream: Stream, place: Place) -> str:
        spec, look, backbone = self.spec, self.spec.evaluation, network.backbones[stream]
        frames, weights = self._frame_edges(stream), self._weight_edges(backbone, stream, place)
        params = ExtractParams(
            stream=stream,
            backbone=_as_trained(backbone) if weights else self._first_weights(backbone),
            feature=network.feature(stream),
            frames=look.frames if look.snippet is None else None,
            first_seconds=look.first_seconds,
            crop="stretch" if look.crops == "stretch" else "center",
            # for rgb too: both streams look at the same frames (TS-LSTM, sec. 3.4.1), unless they look at all
            flow_stack=spec.flow.stack if stream == "flow" or look.snippet is None else 0,
            flow=self._on_the_fly if stream == "flow" else None,
            seed=place.seed if not weights and backbone.weights == "none" else None,
        )
        label = f"extract {backbone.name} {stream}" + (f", {place}" if weights else "")
        return self._add("extract", params, (*frames, *weights), label)

    def _frame_edges(self, stream: Stream) -> tuple[Edge, ...]:
        """What reading frames of a stream takes."""
        return (self._index_edge, *(self._flow_edges if stream == "flow" else ()))

    def _weight_edges(self, backbone: BackboneSpec, stream: Stream, place: Place) -> tuple[Edge, ...]:
        """The trained backbone, where there is one: of this experiment, or of the stage whose weights it takes."""
        if backbone.finetune is not None:
            return (Edge(name="finetune", key=self._plan_finetune(backbone, backbone.finetune, stream, place)),)
        return self._source_edges(backbone, stream, place)

    def _source_edges(self, backbone: BackboneSpec, stream: Stream, place: Place) -> tuple[Edge, ...]:
        """The stage whose weights a backbone takes, where the spec names one."""
        weights = backbone.weights
        if isinstance(weights, str):
            return ()
        key = self._find(f"{self._field(backbone)}.weights", weights, Wanted("backbone", (stream,), place.split))
        return (Edge(name="finetune" if self.stages[key].spec.kind == "finetune" else "weights", key=key),)

    def _plan_finetune(self, backbone: BackboneSpec, recipe: FinetuneSpec, stream: Stream, place: Place) -> str:
        own = {"samples_per_clip", "dropout", "fc6_dropout", "augmentation"}
        params = FinetuneParams(
            **place._asdict(),
            stream=stream,
            backbone=self._first_weights(backbone),
            flow_stack=self.spec.flow.stack if stream == "flow" else 0,
            flow=self._on_the_fly if stream == "flow" else None,
            samples_per_clip=recipe.samples_per_clip,
            dropout=recipe.dropout,
            fc6_dropout=recipe.fc6_dropout,
            augmentation=recipe.augmentation,
            first_seconds=self.spec.evaluation.first_seconds,
            training=TrainingSpec.model_validate(recipe.model_dump(exclude=own)),
        )
        label = f"finetune {backbone.name} {stream}, {place}"
        weights = (Edge(name="weights", key=edge.key) for edge in self._source_edges(backbone, stream, place))
        return self._add("finetune", params, (*self._frame_edges(stream), *weights), label)

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
        params = FlowMethodParams(
            algorithm=flow.algorithm, bound=flow.bound, quantization=flow.quantization, resize=flow.resize
        )
        if flow.algorithm != "raft":
            return params
        found = {"raft": flow.raft, "weights": flow.weights, "digest": file_digest("flow.weights", flow.weights)}
        return params.model_copy(update=found)

    @property
    def _on_the_fly(self) -> FlowMethodParams | None:
        return self._flow_method if self.spec.flow.storage == "on_the_fly" else None

    def _first_weights(self, backbone: BackboneSpec) -> BackboneParams:
        weights = backbone.weights
        if not isinstance(weights, str):  # of a stage, which is an input
            return _as_trained(backbone)
        found = {"weights": weights, "digest": self._digest(f"{self._field(backbone)}.weights", weights)}
        return _as_trained(backbone).model_copy(update=found)

    def _digest(self, field: str, weights: str) -> str | None:
        if weights not in self.digests:
            self.digests[weights] = file_digest(field, weights)
        return self.digests[weights]

    def _field(self, backbone: BackboneSpec) -> str:
        return "backbone" if backbone == self.spec.backbone else "flow_stream.backbone"


def _label(network: NetworkPart, place: Place) -> str:
    way = " fine-tuned" if network.model.is_finetuned else "" if network.end_to_end is None else " end to end"
    return f"{network.model.kind} {'+'.join(network.streams)}{way}, {place}"


def _as_trained(backbone: BackboneSpec) -> BackboneParams:
    """Return a backbone whose weights come from another stage."""
    return BackboneParams(name=backbone.name, normalization=backbone.normalization)


def plan(
    spec: ExperimentSpec, index: IndexParams, boxes: BoxFile | None = None, sources: Sources = no_sources
) -> tuple[PlannedStage, ...]:
    """Return the stages of an experiment, inputs first.

    Args:
        spec: what was submitted.
        index: the registered dataset that ``spec.dataset`` names.
        boxes: its true boxes, if it has a file of them.
        sources: finds the stages whose weights the spec names.

    Raises:
        InvalidRequest: a file of weights is not where the spec says, or cannot be one; there is no such stage.
    """
    return Plan(spec, index, boxes=boxes, sources=sources).build()
