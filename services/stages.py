"""Every kind of stage: its parameters, from which with the inputs' keys a stage's content key is made, and how it runs.

``KINDS`` has one record for each kind; whatever differs from kind to kind stands there and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny

from services.datasets.layouts import Layout
from services.datasets.motion_shapes import MotionShapesParams
from services.params import (
    BoxFile,
    FlowMethodParams,
    FrameCount,
    NetworkParams,
    Params,
    SampledFrames,
    ScoreInput,
    Seconds,
    SnippetViews,
    Spaced,
    SpacedFeatures,
    StreamParams,
    TrainedParams,
    TrainInput,
)
from services.specs import (
    PICTURES,
    AugmentationSpec,
    FlowCodec,
    ModelSpec,
    Stream,
)

StageKind = Literal["index", "flow", "gpu_flow", "finetune", "extract", "train", "score", "localize", "fuse"]
Queue = Literal["cpu", "gpu"]
FusionWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
OutputCategory = Literal["index", "flow", "features", "models", "scores"]
"""What a collection of the cache calls the outputs of a kind, and takes or keeps together."""


class IndexParams(Params):
    """The manifest of a dataset: every listed clip with its hash, frame count, size and label, and the splits.

    Attributes:
        layout: of the lists, UCF101's or HMDB51's.
        root: folder of the clips, laid out ``<Class>/<clip>.avi``; empty for a generated dataset.
        annotations: folder of the lists.
        revision: rises when a user registers the dataset anew, so that changed files are read again.
        generator: makes the clips where they do not exist yet.
        exclude: paths of listed clips that the dataset leaves out. Empty, it is no part of the key, so that the index
            of a dataset that leaves nothing out is found whatever version planned it.
        splits: that must have lists; a check, and no part of the key, since a revision has one value.
    """

    dataset: str
    layout: Layout = "ucf101"
    root: str = ""
    annotations: str = ""
    revision: int = 1
    generator: MotionShapesParams | None = None
    exclude: tuple[str, ...] = ()
    splits: tuple[int, ...] = ()

    def key_content(self) -> dict[str, Any]:
        """Return what is part of the key; see the class for what is not."""
        return self.model_dump(mode="json", exclude={"splits"} if self.exclude else {"splits", "exclude"})


class FlowParams(FlowMethodParams):
    """Optical flow of the clips whose place in the manifest is ``shard`` modulo ``shards``.

    The kind `flow` runs OpenCV's algorithms on processors, without torch; `gpu_flow` runs ours, and RAFT, in batches.
    ``jpeg_quality`` is None for all codecs but ``jpeg``.
    """

    codec: FlowCodec = "raw"
    jpeg_quality: int | None = None
    shard: Annotated[int, Field(ge=0)]
    shards: Annotated[int, Field(ge=1)]


class FinetuneParams(StreamParams, TrainedParams):
    """Training of a ConvNet on one stream of one split.

    ``fc6_dropout`` is None for what VGG-16 has by itself; frames are drawn from the first ``first_seconds`` of a clip,
    None for all of it. Both are no part of the key where they are None.
    """

    split: int
    seed: int
    samples_per_clip: int
    dropout: float
    fc6_dropout: float | None = None
    augmentation: AugmentationSpec | None
    first_seconds: float | None = None

    def key_content(self) -> dict[str, Any]:
        """Return what is part of the key; see the class for what is not."""
        unsaid = {name for name in ("fc6_dropout", "first_seconds") if getattr(self, name) is None}
        return {name: value for name, value in super().key_content().items() if name not in unsaid}


class ExtractParams(StreamParams, Spaced):
    """Features of every clip of the manifest, of a name that the backbone publishes: vectors, or maps.

    ``frames`` equally spaced frames of each clip, or every frame where it is None, in the first ``first_seconds`` (None
    for all of it). ``seed`` fixes the weights of a backbone that is neither trained nor loaded, and is None otherwise.
    """

    feature: str
    frames: FrameCount | None
    first_seconds: Seconds | None = None
    crop: Literal["center", "stretch"] = "center"
    seed: int | None = None


class TrainParams(NetworkParams, TrainedParams):
    """Training of a temporal network on what it sees of one or two streams.

    ``digest`` is the SHA-256 of the file ``model.weights`` where the planner could read it.
    """

    digest: str | None = None
    input: TrainInput


class ScoreParams(NetworkParams):
    """Class scores of every test clip of a split.

    Attributes:
        sampled: which frames the steps of features are, for pictures; None of a network that sees frames itself, and of
            a stage that was planned before there were pictures. No part of the key: the features' own keys say it.
        pictures: test clips of which frames are kept; no part of the key at its default.
    """

    average: Literal["probabilities", "logits"]
    input: ScoreInput
    sampled: SampledFrames | None = None
    pictures: int = PICTURES

    def key_content(self) -> dict[str, Any]:
        """Return what is part of the key; see the class for what is not."""
        content = super().key_content()
        unread = {"sampled"} if self.pictures != PICTURES else {"sampled", "pictures"}
        return {name: value for name, value in content.items() if name not in unread}


class LocalizeParams(Params):
    """A tube for every test clip of a split, from a network's attention (VideoLSTM, sec. 4).

    Attributes:
        boxes: the true ones by which tubes are measured; None without any.
        generator: of a dataset that knows them itself.
    """

    split: int
    streams: tuple[Stream, ...]
    seed: int
    model: ModelSpec
    input: Annotated[SpacedFeatures | SnippetViews, Field(discriminator="kind")]
    sampled: SampledFrames
    threshold: float
    smoothing: int
    boxes: BoxFile | None = None
    generator: MotionShapesParams | None = None


class UploadParams(Params):
    """Class scores that a user brought: what a `score` stage would have made, by the SHA-256 of its file.

    Such a stage is finished from the beginning, and never runs.
    """

    uploaded: str
    dataset: str
    split: int
    streams: tuple[Stream, ...]


class FuseMember(Params):
    """A system of an ensemble: the name of the input that has its scores, and its weight."""

    name: str
    weight: FusionWeight


class FuseParams(Params):
    """Score files of one split and seed, joined by clip id, into the numbers of the leaderboard.

    ``weights`` are of the streams of one experiment. Those of an ensemble stand with its ``members``, which are None
    for anything else, and no part of its key then.
    """

    dataset: str
    split: int
    seed: int
    method: Literal["features", "probabilities", "logits", "product"]
    weights: dict[Stream, FusionWeight]
    members: tuple[FuseMember, ...] | None = None

    def key_content(self) -> dict[str, Any]:
        """Return what is part of the key."""
        return self.model_dump(mode="json", exclude={"members"} if self.members is None else None)


@dataclass(frozen=True)
class StageTraits:
    """What is special to a kind of stage.

    Attributes:
        params: its parameters.
        queue: the resource class whose workers run it.
        category: what its output is to a collection of the cache.
        version: raised when its code changes what the output means.
        needs_torch: whether its module imports torch; the others run in processes that start sooner and stay smaller.
        uses_several_gpus: whether an experiment may ask for more than one GPU for it.
        interruptible: whether it answers SIGTERM with a checkpoint; the others end, and what lies in their state folder
            is saved.
        published: files of its output that MLflow gets.
        stall_minutes: how long it may do nothing before it counts as hanging, unless the settings say otherwise; None
            allows it forever.
    """

    params: type[Params]
    queue: Queue
    category: OutputCategory
    version: int = 1
    needs_torch: bool = True
    uses_several_gpus: bool = False
    interruptible: bool = False
    published: tuple[str, ...] = ()
    stall_minutes: float | None = None


KINDS: Mapping[StageKind, StageTraits] = MappingProxyType(
    {
        "index": StageTraits(IndexParams, "cpu", "index", version=4, needs_torch=False, stall_minutes=15),
        "flow": StageTraits(
            FlowParams, "cpu", "flow", needs_torch=False, published=("pictures.npz",), stall_minutes=15
        ),
        "gpu_flow": StageTraits(FlowParams, "gpu", "flow", published=("pictures.npz",)),
        "finetune": StageTraits(
            FinetuneParams,
            "gpu",
            "models",
            version=2,
            uses_several_gpus=True,
            interruptible=True,
            published=("model.pt",),
        ),
        "extract": StageTraits(ExtractParams, "gpu", "features", version=3),
        "train": StageTraits(
            TrainParams,
            "gpu",
            "models",
            version=4,
            uses_several_gpus=True,
            interruptible=True,
            published=("model.pt",),
        ),
        "score": StageTraits(ScoreParams, "gpu", "scores", version=4, published=("scores.npz", "pictures.npz")),
        "localize": StageTraits(LocalizeParams, "gpu", "scores", published=("localization.json", "tubes.npz")),
        "fuse": StageTraits(FuseParams, "cpu", "scores", version=3, needs_torch=False, published=("results.json",)),
    }
)


class Edge(BaseModel):
    """An input of a stage: its name there, and the key of the stage that makes it."""

    model_config = ConfigDict(frozen=True)

    name: str
    key: str


class StageSpec(BaseModel):
    """One unit of work, found by its content key and shared by every experiment that needs it."""

    model_config = ConfigDict(frozen=True)

    kind: StageKind
    params: SerializeAsAny[Params]
    inputs: tuple[Edge, ...] = ()

    @property
    def key(self) -> str:
        """SHA-256 of kind, version, parameters and input keys in canonical JSON."""
        return content_key(self.kind, self.params, self.inputs)

    @property
    def queue(self) -> Queue:
        """The resource class whose workers may run it."""
        return KINDS[self.kind].queue


def content_key(kind: StageKind, params: Params, inputs: Sequence[Edge]) -> str:
    """Return the 64 hexadecimal digits by which equal work is found again."""
    content = {
        "kind": kind,
        "version": KINDS[kind].version,
        "params": params.key_content(),
        "inputs": [[edge.name, edge.key] for edge in inputs],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
