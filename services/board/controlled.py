"""Heads on the same features and split: the gain of each over one baseline, with its interval.

TS-LSTM's abstract asks for this: its own networks and its baseline differ in the head alone. That features are the same
is looked up: networks were scored on outputs of the same `extract` stages, by key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from services.board.compare import Bounds, SeedPair, Side, paired_test, side
from services.board.parts import Tested, mean_right
from services.board.systems import System, comparable, differences
from services.db.tables import ExperimentStageRow, StageInputRow, StageRow
from services.errors import InvalidRequest
from services.statistics.paired import holm

Features = Mapping[tuple[int, int], frozenset[str]]
"""Keys of the `extract` stages that networks were scored on, by split and seed."""


@dataclass(frozen=True)
class Gain:
    """A head beside the baseline.

    Attributes:
        differs: fields of the specs that differ, with the baseline's value and its own.
        difference: of the top-1 accuracy over the baseline's.
        interval: its bootstrap interval, by itself; None where it is not known which clips the splits share.
        test: McNemar's, of one seed of each; the baseline is the left one.
        adjusted_p: of that test, by Holm's method over all heads.
    """

    side: Side
    differs: Mapping[str, tuple[Any, Any]]
    difference: float
    interval: Bounds | None
    test: SeedPair | None
    adjusted_p: float | None


@dataclass(frozen=True)
class Controlled:
    """A baseline, and heads on its features, in the order in which they were named."""

    baseline: Side
    gains: tuple[Gain, ...]
    features: int
    units: Literal["groups", "clips"] | None
    num_units: int | None


def controlled(
    session: Session, baseline: str, others: Sequence[str], *, split: int | None = None, stream: str = "two-stream"
) -> Controlled:
    """Compare heads with a baseline; see `comparable` for the other arguments and errors.

    Raises:
        InvalidRequest: a head is the baseline, saw other features, or none that a stage of their own made.
    """
    if baseline in others:  # a test that can find nothing would raise the p values of all others
        raise InvalidRequest("others", baseline, "ids of other experiments than the baseline")
    named = [("baseline", baseline), *(("others", id_) for id_ in others)]
    systems, tested = comparable(session, named, dataset=None, split=split, stream=stream)
    features = [_features(session, field, system, stream) for (field, _), system in zip(named, systems, strict=True)]
    for system, own in zip(systems[1:], features[1:], strict=True):
        _require_same(systems[0], features[0], system, own)
    gains = _gains(systems, tested)
    units = tested.units
    return Controlled(
        baseline=side(systems[0]),
        gains=gains,
        features=len(frozenset().union(*features[0].values())),
        units=None if units is None else units.kind,
        num_units=None if units is None else units.count,
    )


def _gains(systems: Sequence[System], tested: Tested) -> tuple[Gain, ...]:
    first, *others = systems
    tests = [paired_test(first, other, tested) for other in others]
    adjusted = holm([test.p for test in tests if test is not None]).tolist() if all(tests) else [None] * len(tests)
    before, start = mean_right(first.parts), side(first)
    found = []
    for other, test, p in zip(others, tests, adjusted, strict=True):
        after, own = mean_right(other.parts), side(other)
        bounds = tested.rate_interval({split: after[split] - before[split] for split in before})
        differs = differences(first.experiment.spec, other.experiment.spec)
        found.append(Gain(own, differs, own.value - start.value, bounds, test, p))
    return tuple(found)


def _features(session: Session, field: str, system: System, stream: str) -> Features:
    """Return the features of the networks behind a stream; one that sees both streams stands behind rgb, too."""
    made = aliased(StageRow)
    query = (
        select(StageRow.params, made.key)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .join(StageInputRow, StageInputRow.stage_key == StageRow.key)
        .join(made, made.key == StageInputRow.input_key)
        .where(
            ExperimentStageRow.experiment_id == system.experiment.id, StageRow.kind == "score", made.kind == "extract"
        )
    )
    found: dict[tuple[int, int], set[str]] = {}
    for params, key in session.execute(query):
        streams = params["streams"]
        behind = stream == "two-stream" or (streams == ["flow"]) == (stream == "flow")
        if behind and params["split"] in system.parts:
            found.setdefault((params["split"], params["seed"]), set()).add(key)
    if not found:
        allowed = "an experiment whose networks see the features of an `extract` stage; its own see frames"
        raise InvalidRequest(field, system.experiment.id, allowed)
    return {place: frozenset(keys) for place, keys in found.items()}


def _require_same(first: System, features: Features, other: System, own: Features) -> None:
    """Refuse a head that saw other features with some seed that both have, or has no seed in common."""
    common = features.keys() & own.keys()
    id_, known = other.experiment.id, first.experiment.id
    if not common:
        seeds = ", ".join(map(str, first.seeds))
        raise InvalidRequest("others", id_, f"an experiment with a seed that {known} has: {seeds}")
    if any(features[place] != own[place] for place in common):
        fields = differences(first.experiment.spec, other.experiment.spec)
        makes = [name for name in fields if not name.startswith(("model.", "training.", "fusion.", "seeds"))]
        why = f"differs in {', '.join(makes)}" if makes else "has others"
        raise InvalidRequest("others", id_, f"an experiment on the features of {known}; it {why}")
