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
from services.planning import flow_stages, held_out
from services.planning.planned import (
    Place,
    PlannedStage,
    Sources,
    Wanted,
    as_trained,
    label_of,
    network_of,
    no_circle,
    no_sources,
    own_place,
    require_trained,
)
from services.planning.weights_file import Digests
from services.specs import (
    BackboneSpec,
    ExperimentSpec,
    FinetuneSpec,
    LocalizationSpec,
    NetworkPart,
    Part,
    StageWeights,
    Stream,
)
from services.stages import (
    Edge,
    ExtractParams,
    FinetuneParams,
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

    ``digests`` are of the weights files that the spec names; ``boxes`` are the dataset's;
    ``sources`` finds the stages whose weights the spec names; ``going`` are those of its own that are being planned,
    each for the sake of the one before. What is not ``tested`` ends with what its networks learn.
    """

    spec: ExperimentSpec
    index: IndexParams
    stages: dict[str, PlannedStage] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)
    boxes: BoxFile | None = None
    sources: Sources = no_sources
    going: list[str] = field(default_factory=list)
    tested: bool = True

    def build(self) -> tuple[PlannedStage, ...]:
        """Plan every split and seed and return the stages in order."""
        for split, seed in product(self.spec.splits, self.spec.seeds):
            if self.tested:
                self._plan_result(split, seed)
            else:
                self._plan_networks(Place(split, seed))
        return tuple(self.stages.values())

    def _plan_networks(self, place: Place) -> None:
        for network in self.spec.networks:
            self._trained_edge(network, place, self._seen_edges(network, place))

    def build_part(self, network: NetworkPart, part: Part, stream: Stream, place: Place) -> tuple[PlannedStage, ...]:
        """Plan what trains a network, or the ConvNet of a stream, and return the stages up to it."""
        backbone = network.backbones[stream]
        if part == "model":
            key = self._plan_train(network, place, self._seen_edges(network, place))
        else:
            assert backbone.finetune is not None
            key = self._plan_finetune(network, backbone.finetune, stream, place)
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
        trained = self._trained_edge(network, place, seen)
        params = ScoreParams(
            **place._asdict(),
            streams=network.streams,
            model=network.model.model_copy(update={"weights": "none"}),
            average=self.spec.evaluation.average,
            input=self._score_input(network),
            sampled=None if network.sees_frames else self._sampled(network),
            pictures=self.spec.evaluation.pictures,
        )
        score = self._add("score", params, (*seen, trained), f"score {label_of(network, place)}")
        if self.spec.evaluation.localization is not None and network.model.attends:
            self._plan_tubes(self.spec.evaluation.localization, network, place, (*seen, trained), score)
        return score

    def _trained_edge(self, network: NetworkPart, place: Place, seen: tuple[Edge, ...]) -> Edge:
        """What trains a network: a stage of its own, or that of its fine-tuned ConvNet."""
        if network.model.is_finetuned:
            (stream,) = network.streams
            (trained,) = self._weight_edges(network, stream, place)
            return trained
        return Edge(name="train", key=self._plan_train(network, place, seen))

    def _plan_tubes(
        self, wanted: LocalizationSpec, network: NetworkPart, place: Place, seen: tuple[Edge, ...], score: str
    ) -> None:
        """Localise the actions of test clips, by a network that attends."""
        look = self.spec.evaluation
        params = LocalizeParams(
            **place._asdict(),
            streams=network.streams,
            model=network.model,
            input=SpacedFeatures() if look.snippet is None else SnippetViews(length=look.snippet, count=look.frames),
            sampled=self._sampled(network),
            threshold=wanted.threshold,
            smoothing=wanted.smoothing,
            boxes=self.boxes,
            generator=self.index.generator,
        )
        edges = (*seen, Edge(name="score", key=score))
        self._add("localize", params, edges, f"localize {label_of(network, place)}")

    def _sampled(self, network: NetworkPart) -> SampledFrames:
        """Which frames the steps of a network's features are."""
        look = self.spec.evaluation
        return SampledFrames(
            backbone=network.backbones[network.streams[0]].name,
            frames=look.frames if look.snippet is None else None,
            flow_stack=self.spec.flow.stack,
            first_seconds=look.first_seconds,
            crop="stretch" if look.crops == "stretch" else "center",
            spacing=look.spacing,
        )

    def _plan_train(self, network: NetworkPart, place: Place, seen: tuple[Edge, ...]) -> str:
        weights, model = self._first_edges(network, place), network.model
        file = model.weights if isinstance(model.weights, str) else "none"
        params = TrainParams(
            **place._asdict(),
            streams=network.streams,
            model=model.model_copy(update={"weights": "none" if network.from_rgb else file}),
            training=network.training,
            held_out_by=held_out.held_out_by(network.training, self.index.layout),
            input=self._train_input(network, trained=bool(weights)),
            digest=self.digests.of(f"{network.field('model')}.weights", file),
        )
        parts = () if network.from_rgb else tuple(self._model_edges(network, place))
        return self._add("train", params, (*seen, *weights, *parts), f"train {label_of(network, place)}")

    def _model_edges(self, network: NetworkPart, place: Place) -> Iterator[Edge]:
        """The trained networks that a network starts from, each with the part that takes its weights."""
        field, wanted = f"{network.field('model')}.weights", Wanted("model", network.streams, place)
        for number, weights in enumerate(network.model.trained_parts):
            yield Edge(name=f"model/{number}/{weights.into}", key=self._find(field, weights, wanted))

    def _find(self, field: str, weights: StageWeights, wanted: Wanted) -> str:
        if weights.is_own:
            return self._find_own(field, weights, wanted)
        stages = self.sources(field, weights, wanted)
        for stage in stages:
            self.stages.setdefault(stage.key, stage)
        return stages[-1].key

    def _find_own(self, field: str, weights: StageWeights, wanted: Wanted) -> str:
        """Plan the stage of this very experiment whose weights another one of its stages takes.

        Raises:
            InvalidRequest: it trains no such part, or needs itself.
        """
        part, streams, place = (
            weights.part or wanted.part,
            wanted.streams_of(weights),
            own_place(field, weights, wanted, self.spec),
        )
        network = network_of(field, self.spec, streams)
        require_trained(field, network, part, streams[0], "this experiment")
        name = f"{part} of {'+'.join(streams[:1] if part == 'backbone' else network.streams)}, {place}"
        with no_circle(self.going, field, weights, name):
            if part == "model":
                return self._plan_train(network, place, self._seen_edges(network, place))
            backbone = network.backbones[streams[0]]
            assert backbone.finetune is not None
            return self._plan_finetune(network, backbone.finetune, streams[0], place)

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
        return self._weight_edges(network, stream, place)

    def _train_input(self, network: NetworkPart, *, trained: bool) -> TrainInput:
        snippet, recipe = self.spec.evaluation.snippet, network.end_to_end
        if recipe is not None:
            backbone = network.backbones[network.streams[0]]
            frames = self._frames(network, as_trained(backbone) if trained else self._first_weights(backbone))
            return FrameSamples(**dict(frames), snippets=recipe.snippets, augmentation=recipe.augmentation)
        return SpacedFeatures() if snippet is None else Snippets(length=snippet)

    def _score_input(self, network: NetworkPart) -> ScoreInput:
        look = self.spec.evaluation
        if network.sees_frames:
            frames = self._frames(network, as_trained(network.backbones[network.streams[0]]))
            return FrameViews(
                **dict(frames),
                frames=look.frames,
                positions=look.positions,
                crops=look.crops,
                spacing=look.spacing,
            )
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
        frames, weights = self._frame_edges(stream), self._weight_edges(network, stream, place)
        params = ExtractParams(
            stream=stream,
            backbone=as_trained(backbone) if weights else self._first_weights(backbone),
            feature=network.feature(stream),
            frames=look.frames if look.snippet is None else None,
            first_seconds=look.first_seconds,
            crop="stretch" if look.crops == "stretch" else "center",
            # for rgb too: both streams look at the same frames (TS-LSTM, sec. 3.4.1), unless they look at all
            flow_stack=spec.flow.stack if stream == "flow" or look.snippet is None else 0,
            flow=self._on_the_fly if stream == "flow" else None,
            seed=place.seed if not weights and backbone.weights == "none" else None,
            spacing=look.spacing,
        )
        label = f"extract {backbone.name} {stream}" + (f", {place}" if weights else "")
        return self._add("extract", params, (*frames, *weights), label)

    def _frame_edges(self, stream: Stream) -> tuple[Edge, ...]:
        """What reading frames of a stream takes."""
        return (self._index_edge, *(self._flow_edges if stream == "flow" else ()))

    def _weight_edges(self, network: NetworkPart, stream: Stream, place: Place) -> tuple[Edge, ...]:
        """The trained backbone, where there is one: of this experiment, or of the stage whose weights it takes."""
        backbone = network.backbones[stream]
        if backbone.finetune is not None:
            return (Edge(name="finetune", key=self._plan_finetune(network, backbone.finetune, stream, place)),)
        return self._source_edges(backbone, stream, place)

    def _source_edges(self, backbone: BackboneSpec, stream: Stream, place: Place) -> tuple[Edge, ...]:
        """The stage whose weights a backbone takes, where the spec names one."""
        weights = backbone.weights
        if isinstance(weights, str):
            return ()
        key = self._find(f"{self._field(backbone)}.weights", weights, Wanted("backbone", (stream,), place))
        return (Edge(name="finetune" if self.stages[key].spec.kind == "finetune" else "weights", key=key),)

    def _plan_finetune(self, network: NetworkPart, recipe: FinetuneSpec, stream: Stream, place: Place) -> str:
        backbone, training = network.backbones[stream], held_out.of_convnet(recipe, network)
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
            training=training,
            held_out_by=held_out.held_out_by(training, self.index.layout),
        )
        label = f"finetune {backbone.name} {stream}, {place}"
        weights = (Edge(name="weights", key=edge.key) for edge in self._source_edges(backbone, stream, place))
        return self._add("finetune", params, (*self._frame_edges(stream), *weights), label)

    @cached_property
    def _index_edge(self) -> Edge:
        return Edge(name="index", key=self._add("index", self.index, (), f"index {self.spec.dataset}"))

    @cached_property
    def _flow_edges(self) -> tuple[Edge, ...]:
        found = flow_stages.shards(self.spec.flow, self._flow_method) if self.spec.flow.storage == "stored" else ()
        return tuple(
            Edge(name=f"flow/{params.shard}", key=self._add(kind, params, (self._index_edge,), label))
            for kind, params, label in found
        )

    @cached_property
    def _flow_method(self) -> FlowMethodParams:
        return flow_stages.method(self.spec.flow)

    @property
    def _on_the_fly(self) -> FlowMethodParams | None:
        return self._flow_method if self.spec.flow.storage == "on_the_fly" else None

    def _first_weights(self, backbone: BackboneSpec) -> BackboneParams:
        weights = backbone.weights
        if not isinstance(weights, str):  # of a stage, which is an input
            return as_trained(backbone)
        found = {"weights": weights, "digest": self.digests.of(f"{self._field(backbone)}.weights", weights)}
        return as_trained(backbone).model_copy(update=found)

    def _field(self, backbone: BackboneSpec) -> str:
        return "backbone" if backbone == self.spec.backbone else "flow_stream.backbone"


def plan(
    spec: ExperimentSpec,
    index: IndexParams,
    boxes: BoxFile | None = None,
    sources: Sources = no_sources,
    *,
    tested: bool = True,
) -> tuple[PlannedStage, ...]:
    """Return the stages of an experiment, inputs first.

    Args:
        spec: what was submitted.
        index: the registered dataset that ``spec.dataset`` names.
        boxes: its true boxes, if it has a file of them.
        sources: finds the stages whose weights the spec names.
        tested: whether its networks are scored on the test list when they are trained.

    Raises:
        InvalidRequest: a file of weights is not where the spec says, or cannot be one; there is no such stage.
    """
    return Plan(spec, index, boxes=boxes, sources=sources, tested=tested).build()
