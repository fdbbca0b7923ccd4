"""Where weights of tested networks come from: what they were trained on, from which files, and how they were chosen.

A plan has the stages along whose weights it takes, those of other experiments too, so that what is doubtful of these
does not get lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from services.board.network import filed
from services.board.protocol import Measurement, Protocol, measurements
from services.params import HeldOutBy
from services.planning.planned import PlannedStage
from services.specs import ExperimentSpec, TrainingSpec

TRAINING = ("finetune", "train")
NO_FILES = ("none", "imagenet")
SHARE = TrainingSpec().validation_share
"""Of stages that were planned before it could be chosen."""


class SeenSplit(NamedTuple):
    """A split of a dataset on whose training clips weights were trained."""

    dataset: str
    split: int


class Draw(NamedTuple):
    """Which part of a train list a training holds out: equal draws the same clips, a larger share more of them."""

    share: float
    seed: int
    by: HeldOutBy

    def has(self, other: Draw) -> bool:
        """Say whether this holds out all that another draw does."""
        return self.share >= other.share and self[1:] == other[1:]


class Trained(NamedTuple):
    """A split on whose training clips weights were trained, but for those of a draw."""

    place: SeenSplit
    kept_from: Draw | None

    def saw(self, other: Trained) -> bool:
        """Say whether it was trained on clips that another training holds out, as far as splits and draws tell."""
        if self.place.dataset != other.place.dataset or other.kept_from is None:
            return False
        same = self.place == other.place and self.kept_from is not None
        return not (same and self.kept_from is not None and self.kept_from.has(other.kept_from))


@dataclass(frozen=True)
class Origin:
    """What stands behind the output of a stage.

    Attributes:
        trained: on whose training clips something of it was trained.
        chosen: splits by whose test clips an epoch of it was chosen.
        files: of weights that something of it starts from; what these have seen workers alone can read.
    """

    trained: frozenset[Trained] = frozenset()
    chosen: frozenset[SeenSplit] = frozenset()
    files: frozenset[str] = frozenset()

    @property
    def seen(self) -> frozenset[SeenSplit]:
        """The splits of which it has seen training clips."""
        return frozenset(each.place for each in self.trained)

    def beside(self, other: Origin) -> Origin:
        """Return what stands behind this and another one."""
        return Origin(self.trained | other.trained, self.chosen | other.chosen, self.files | other.files)


def origins(planned: Iterable[PlannedStage]) -> dict[str, Origin]:
    """Return what stands behind each stage of a plan, by key; the plan has inputs before what needs them."""
    stages = list(planned)
    found: dict[str, Origin] = {}
    datasets = _datasets(stages)
    for stage in stages:
        inputs = [edge.key for edge in stage.spec.inputs if edge.key in found]
        found[stage.key] = reduce(Origin.beside, (found[key] for key in inputs), _own(stage, datasets[stage.key]))
    return found


def _datasets(planned: Iterable[PlannedStage]) -> dict[str, str]:
    """Return the dataset on which each stage of a plan works, by key."""
    datasets: dict[str, str] = {}
    for stage in planned:
        inputs = (edge.key for edge in stage.spec.inputs)
        own = str(_content(stage)["dataset"]) if stage.spec.kind == "index" else ""
        datasets[stage.key] = own or next((datasets[key] for key in inputs if datasets.get(key)), "")
    return datasets


def drawn(training: TrainingSpec, seed: int, by: HeldOutBy) -> Draw | None:
    """Return what a training holds out of its train list, or None where it trains on all of it."""
    return Draw(training.validation_share, seed, by) if training.held_out == "validation" else None


def seen_by_choice(planned: Iterable[PlannedStage], dataset: str) -> Iterator[tuple[PlannedStage, list[Trained]]]:
    """Yield the trainings on a dataset whose epoch is chosen on clips that weights behind them were trained on."""
    stages = list(planned)
    behind, places = origins(stages), _datasets(stages)
    for stage in stages:
        params = _content(stage)
        if stage.spec.kind in TRAINING and params["training"].get("selection") == "validation":
            own = _trained(params, places[stage.key])
            before = frozenset().union(*(behind[edge.key].trained for edge in stage.spec.inputs if edge.key in behind))
            found = sorted(each for each in before if each.saw(own))
            if found and places[stage.key] == dataset:
                yield stage, found


def measured(spec: ExperimentSpec, planned: Sequence[PlannedStage]) -> tuple[Measurement, ...]:
    """Return how each stream of an experiment is measured, as `measurements`, by weights of other stages too.

    Where an epoch of some stage behind a network was chosen on test clips of the experiment's dataset, the number says
    as much more than it should as if the experiment had chosen it itself.
    """
    behind = origins(planned)
    scored = [stage for stage in planned if stage.spec.kind == "score"]
    chosen = {
        filed(stage.spec.params.model_dump(mode="json"))
        for stage in scored
        if is_chosen(behind[stage.key], spec.dataset)
    }
    return tuple(
        each._replace(protocol=by_test(each.protocol))
        if isinstance(each.protocol, Protocol) and (each.stream in chosen or (each.stream == "two-stream" and chosen))
        else each
        for each in measurements(spec)
    )


def is_chosen(origin: Origin, dataset: str) -> bool:
    """Say whether something of it was chosen by test clips of a dataset."""
    return any(place.dataset == dataset for place in origin.chosen)


def by_test(protocol: Protocol) -> Protocol:
    """Return a protocol with an epoch that was chosen on the test list."""
    return protocol.model_copy(update={"selection": "test"})


def _own(stage: PlannedStage, dataset: str) -> Origin:
    params, kind = _content(stage), stage.spec.kind
    files = frozenset(_files(params)) if kind in (*TRAINING, "extract") else frozenset[str]()
    if kind not in TRAINING:
        return Origin(files=files)
    trained = _trained(params, dataset)
    by_test_clips = params["training"].get("selection") == "test"
    return Origin(frozenset({trained}), frozenset({trained.place} if by_test_clips else ()), files)


def _trained(params: Mapping[str, Any], dataset: str) -> Trained:
    training = params["training"]
    holds_out = training.get("selection") == "validation" or training.get("validate", False)
    share, by = training.get("validation_share", SHARE), params.get("held_out_by", "group")
    return Trained(SeenSplit(dataset, params["split"]), Draw(share, params["seed"], by) if holds_out else None)


def _content(stage: PlannedStage) -> dict[str, Any]:
    """Return the parameters of a stage, be it planned or stored."""
    return stage.spec.params.model_dump(mode="json")


def _files(params: Mapping[str, Any]) -> Iterator[str]:
    """Yield the files of weights that a stage reads: of its backbone, its network, or the backbone of its frames."""
    for part in (params.get("backbone"), params.get("model"), (params.get("input") or {}).get("backbone")):
        weights = part.get("weights") if isinstance(part, Mapping) else None
        if isinstance(weights, str) and weights not in NO_FILES:
            yield weights
