"""How a number was measured, as a value; what is measured alike is ranked together.

Two numbers stand on one board where the fields are equal, whatever the sentence that says them to people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from services.specs import FLOW_SHORT_SIDE, Crops, ExperimentSpec, FlowQuantization, FlowSpec, NetworkPart, Rule

CROP_NAMES: Mapping[Crops, str] = {
    "center": "centre crop",
    "stretch": "stretched frame",
    "five": "5 crops",
    "ten": "10 crops",
}


Selection = Literal["last", "validation", "test"]
EPOCHS: Mapping[Selection, str] = {"last": "last", "validation": "best validation", "test": "best test"}
"""By how much each claims, from the least on."""


class FlowProtocol(BaseModel):
    """What changes the bytes of flow that a network sees; where flow is stored does not, how it is packed may.

    Attributes:
        method: the algorithm, with the variant of it that gives other fields, such as ``tvl1-gpu`` or ``raft-small``.
        own_weights: whether a network that estimates flow had other weights than its default ones.
        bound: in pixels of displacement.
        resize: short side in pixels to which larger frames are brought; None keeps every size.
        quantization: how displacements become bytes.
        jpeg_quality: of stored flow; None where nothing is lost.
        stack: L, the fields that a network sees at once.
    """

    model_config = ConfigDict(frozen=True)

    method: str
    own_weights: bool = False
    bound: float
    resize: int | None
    quantization: FlowQuantization
    jpeg_quality: int | None = None
    stack: int


class BoxProtocol(BaseModel):
    """How the boxes of test clips are found, and against which true ones they are measured.

    Attributes:
        boxes: hash of the true ones: what is measured against others stands on another board, always.
        threshold: of saliency, 0 to 255.
        smoothing: frames over which boxes are smoothed.
    """

    model_config = ConfigDict(frozen=True)

    boxes: str
    threshold: float
    smoothing: int

    @property
    def words(self) -> str:
        """All of it for people: ``boxes 0123456789ab, threshold 100, smoothed over 25 frames``."""
        over = f"smoothed over {self.smoothing} frames" if self.smoothing > 1 else "not smoothed"
        return f"boxes {self.boxes[:12]}, threshold {_number(self.threshold)}, {over}"


class Protocol(BaseModel):
    """How a number is measured.

    A field that comes later has the default None for what it does not say, and is no part of the digest then: what was
    measured before stays on its board.

    Attributes:
        frames: equally spaced frames or groups of a clip, or snippets if there is a ``snippet``.
        snippet: consecutive frames in each; None for spaced frames.
        positions: groups in each part of a clip.
        first_seconds: of a clip, which are looked at; None for all of it.
        crops: of a frame, whose scores are averaged.
        average: what of the parts of a clip is averaged.
        selection: which of a training's epochs is tested: the last, the best on held-out clips of the train list, or
            the best on the test list. Of several trainings behind a number the one says it that claims most.
        margin: the stack for which spaced frames keep room at both ends of a clip; None for snippets.
        flow: None for rgb frames alone.
        spacing: ``whole_step`` where spaced frames lie a whole number of frames apart; None where they lie evenly.
        classifier: ``finetuned`` where a fine-tuned ConvNet is tested with its own; None where one is trained for it.
        localization: of a metric of boxes alone; see `with_boxes`.
    """

    model_config = ConfigDict(frozen=True)

    frames: int
    snippet: int | None = None
    positions: int = 1
    first_seconds: float | None = None
    crops: Crops
    average: Literal["probabilities", "logits"]
    selection: Selection = "last"
    margin: int | None = None
    flow: FlowProtocol | None = None
    spacing: Literal["whole_step"] | None = None
    classifier: Literal["finetuned"] | None = None
    localization: BoxProtocol | None = None

    @classmethod
    def of(cls, spec: ExperimentSpec, stream: str) -> Protocol:
        """Return how a stream of an experiment is measured: rgb, flow or two-stream."""
        look = spec.evaluation
        sees_flow = stream != "rgb" or spec.model.sees_both
        networks = [part for part in spec.networks if stream == "two-stream" or stream in part.streams]
        return cls(
            frames=look.frames,
            snippet=look.snippet,
            positions=look.positions,
            first_seconds=look.first_seconds,
            crops=look.crops,
            average=look.average,
            # a network that starts from the trained rgb one has what was chosen for that
            selection=_selection(spec.networks if any(part.from_rgb for part in networks) else networks),
            margin=spec.flow.stack if look.snippet is None else None,
            flow=_flow_protocol(spec.flow) if sees_flow else None,
            spacing=None if look.spacing == "even" else look.spacing,
            classifier="finetuned" if any(part.model.is_finetuned for part in networks) else None,
        )

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as JSON, without those that are None."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the fields in canonical JSON, by which a protocol is known."""
        return hashlib.sha256(_canonical(self.fields).encode()).hexdigest()

    @property
    def line(self) -> str:
        """All of it for people: ``25 frames, centre crop, probabilities, last epoch; flow tvl1 +-20, stack 10``."""
        frames = f"{self.frames} frames" if self.snippet is None else f"{self.frames} snippets of {self.snippet} frames"
        frames += " by whole steps" if self.spacing is not None else ""
        frames += f" at {self.positions} positions" if self.positions > 1 else ""
        frames += f" of the first {_number(self.first_seconds)} s" if self.first_seconds is not None else ""
        line = f"{frames}, {CROP_NAMES[self.crops]}, {self.average}, {EPOCHS[self.selection]} epoch"
        line += ", fine-tuned classifier" if self.classifier is not None else ""
        if self.flow is not None:
            return f"{line}; {' '.join(_flow_words(self.flow))}, stack {self.flow.stack}"
        return line if self.margin is None else f"{line}; frames of stack {self.margin}"


VARIABLE = (
    *(name for name in Protocol.model_fields if name not in ("flow", "localization")),
    *("flow", *(f"flow.{name}" for name in FlowProtocol.model_fields)),
    *(f"localization.{name}" for name in BoxProtocol.model_fields if name != "boxes"),
)
"""Fields across which a board may rank, those of flow by itself too; never what was measured against other boxes."""


class Worded(NamedTuple):
    """A protocol as it is stored: the hash of its fields, these, and the line for people."""

    digest: str
    fields: Mapping[str, Any]
    line: str


def with_boxes(fields: Mapping[str, Any], line: str, boxes: BoxProtocol) -> Worded:
    """Return how the boxes of a stream are measured.

    Args:
        fields: of the protocol of its class scores, as they are stored.
        line: likewise.
        boxes: how its boxes are found and measured.
    """
    own = {**fields, "localization": boxes.model_dump(mode="json")}
    return Worded(hashlib.sha256(_canonical(own).encode()).hexdigest(), own, f"{line}; {boxes.words}")


def with_test_epoch(fields: Mapping[str, Any], line: str) -> Worded:
    """Return how a stream is measured whose weights turned out to be of an epoch that test clips chose.

    Args:
        fields: of its protocol, as they are stored; of an ensemble the choice stands beside its members.
        line: likewise.
    """
    own = {**fields, "selection": "test"}
    words = f"{line}, {EPOCHS['test']} epoch" if "ensemble" in fields else Protocol.model_validate(own).line
    return Worded(hashlib.sha256(_canonical(own).encode()).hexdigest(), own, words)


class EnsembleMember(BaseModel):
    """A system of an ensemble: its weight, and the fields of its own protocol, or ``{"uploaded": true}``."""

    model_config = ConfigDict(frozen=True)

    weight: float
    protocol: dict[str, Any]


class EnsembleProtocol(BaseModel):
    """How an ensemble is measured: how each member is, and how their scores are fused.

    Attributes:
        method: the rule of fusion.
        members: in an order that does not depend on how they were named; weights of a mean sum to 1.
    """

    model_config = ConfigDict(frozen=True)

    method: Rule
    members: tuple[EnsembleMember, ...]

    @classmethod
    def of(cls, method: Rule, members: Sequence[tuple[float, Mapping[str, Any]]]) -> EnsembleProtocol:
        """Return the protocol of members, each given by its weight and the fields of its protocol."""
        total = 1.0 if method == "product" else sum(weight for weight, _ in members)
        found = [EnsembleMember(weight=round(weight / total, 12), protocol=dict(fields)) for weight, fields in members]
        ordered = sorted(found, key=lambda member: (member.weight, _canonical(member.protocol)))
        return cls(method=method, members=tuple(ordered))

    @property
    def fields(self) -> dict[str, Any]:
        """The fields as JSON, below a name that no other protocol has."""
        return {"ensemble": self.model_dump(mode="json")}

    @property
    def digest(self) -> str:
        """SHA-256 of the fields in canonical JSON."""
        return hashlib.sha256(_canonical(self.fields).encode()).hexdigest()

    @property
    def line(self) -> str:
        """Method and weights for people, and the beginning of the digest for all else.

        Such as ``ensemble of 2, product, weights 1 : 1, protocol 0123456789ab``.
        """
        weights = " : ".join(f"{member.weight:.4g}" for member in self.members)
        return f"ensemble of {len(self.members)}, {self.method}, weights {weights}, protocol {self.digest[:12]}"


class Measurement(NamedTuple):
    """How a stream of an experiment is measured, and with which kind of network.

    ``source`` is ``experiment`` or ``ensemble``; ``uploaded`` says that scores of it were computed elsewhere.
    """

    stream: str
    protocol: Protocol | EnsembleProtocol
    model: str
    source: str = "experiment"
    uploaded: bool = False


def measurements(spec: ExperimentSpec) -> tuple[Measurement, ...]:
    """Return how each stream is measured of which an experiment may have results.

    The system of both streams goes by the network of its rgb stream.
    """
    own = None if spec.flow_stream is None else spec.flow_stream.model
    models = {"flow": (own or spec.model).kind}
    return tuple(Measurement(name, Protocol.of(spec, name), models.get(name, spec.model.kind)) for name in spec.systems)


def _selection(networks: Iterable[NetworkPart]) -> Selection:
    """Return the selection that claims most among those of all trainings of networks."""
    found: set[Selection] = {"last"}
    for network in networks:
        tuned = (network.backbones[own].finetune for own in network.streams)
        found |= {recipe.selection for recipe in tuned if recipe is not None}
        if not network.model.is_finetuned:
            found.add(network.training.selection)
    return max(found, key=list(EPOCHS).index)


def _flow_protocol(flow: FlowSpec) -> FlowProtocol:
    variants = {"raft": f"raft-{flow.raft}", "tvl1": "tvl1-gpu" if flow.chosen_device == "gpu" else "tvl1"}
    return FlowProtocol(
        method=variants.get(flow.algorithm, flow.algorithm),
        own_weights=flow.algorithm == "raft" and flow.weights != "default",
        bound=flow.bound,
        resize=flow.resize,
        quantization=flow.quantization,
        jpeg_quality=flow.jpeg_quality if flow.storage == "stored" and flow.codec == "jpeg" else None,
        stack=flow.stack,
    )


def _flow_words(flow: FlowProtocol) -> Iterator[str]:
    """Yield what is to say of flow; the usual size of frames and quantization go without saying."""
    yield f"flow {flow.method} +-{_number(flow.bound)}"
    if flow.resize != FLOW_SHORT_SIDE:
        yield "full size" if flow.resize is None else f"short side {flow.resize}"
    if flow.own_weights:
        yield "own weights"
    if flow.quantization == "frame_min_max":
        yield "frame min-max"
    if flow.jpeg_quality is not None:
        yield f"jpeg {flow.jpeg_quality}"


def _canonical(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _number(value: float) -> str:
    """Word a number with all its digits, so that other numbers are other words."""
    return repr(value).removesuffix(".0")
