"""Streams of experiments that may be compared clip by clip, and what differs in their specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.board import results
from services.board.answers import Answers, Stream, of_streams
from services.board.parts import Parts, Tested
from services.board.results import Result
from services.db.tables import ExperimentRow
from services.errors import Conflict, InvalidRequest, NotFound
from services.words import counted

UNSAID = {"name", "priority", "resources", "refresh"}
"""Of a spec, what says nothing of the numbers."""


@dataclass(frozen=True, eq=False)
class System:
    """A stream of an experiment, with its answers to the splits that are compared.

    Attributes:
        experiment: its row.
        result: its numbers, the mean over seeds, of the split or over splits.
        parts: answers by split.
    """

    experiment: ExperimentRow
    result: Result
    parts: Parts

    @property
    def seeds(self) -> list[int]:
        """That every split has."""
        of_splits = [{said.seed for said in answers} for answers in self.parts.values()]
        return sorted(set.intersection(*of_splits))

    def of_seed(self, seed: int) -> dict[int, Answers]:
        """Return the answers of one seed by split."""
        return {split: next(s for s in answers if s.seed == seed) for split, answers in self.parts.items()}


def comparable(
    session: Session, named: Sequence[tuple[str, str]], *, dataset: str | None, split: int | None, stream: str
) -> tuple[list[System], Tested]:
    """Return systems that answered the same clips, and those.

    Args:
        session: a transaction of the caller.
        named: ids of experiments, each with the name of the field that has it; all are compared with the first.
        dataset: on which they are to be; None for any.
        split: None for the mean over splits.
        stream: of all of them.

    Raises:
        NotFound: no experiment has the id.
        InvalidRequest: they were measured on other datasets, revisions, splits or clips, or have no such stream.
        Conflict: something is not measured yet, or what was said of each clip was not kept.
    """
    experiments = [_experiment(session, id_) for _, id_ in named]
    _require_dataset(named, experiments, dataset)
    found = of_streams(session, [(id_, stream) for _, id_ in named])
    systems = [
        _system(session, field, experiment, own, split, stream)
        for (field, _), experiment, own in zip(named, experiments, found, strict=True)
    ]
    for (field, _), other in zip(named[1:], systems[1:], strict=True):
        _require_same_clips(field, systems[0], other)
    return systems, Tested({number: answers[0].test for number, answers in systems[0].parts.items()})


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two specs differ, by dotted name, with both values; None where one lacks it."""
    one, other = (dict(_fields({k: v for k, v in spec.items() if k not in UNSAID})) for spec in (left, right))
    names = [*one, *(name for name in other if name not in one)]
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def _fields(spec: Mapping[str, Any], here: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in spec.items():
        if isinstance(value, Mapping):
            yield from _fields(value, f"{here}{name}.")
        else:
            yield f"{here}{name}", value


def _experiment(session: Session, id_: str) -> ExperimentRow:
    row = session.get(ExperimentRow, id_)
    if row is None:
        raise NotFound("experiment", id_)
    return row


def _require_dataset(
    named: Sequence[tuple[str, str]], experiments: Sequence[ExperimentRow], dataset: str | None
) -> None:
    wanted = experiments[0].dataset if dataset is None else dataset
    for (field, id_), row in zip(named, experiments, strict=True):
        if row.dataset != wanted:
            raise InvalidRequest(field, id_, f"an experiment on dataset {wanted}; it is on {row.dataset}")


def _system(
    session: Session, field: str, experiment: ExperimentRow, found: Stream, split: int | None, stream: str
) -> System:
    """Return a system, or say what it lacks."""
    own = [each for each in results.listing(session, experiment.id) if each.row.seed is None]
    streams = sorted({each.row.stream for each in own})
    if not own:
        raise Conflict(f"{field}: experiment {experiment.id} has no results yet; it is {experiment.state}")
    if stream not in streams:
        raise InvalidRequest("stream", stream, f"a stream that {field} has: {', '.join(streams)}")
    mine = {each.row.split: each for each in own if each.row.stream == stream}
    if split not in mine:
        there = ", ".join(sorted("mean" if number is None else str(number) for number in mine))
        raise InvalidRequest("split", split, f"a split that {field} has: {there}")
    result = mine[split]
    if result.row.missing_splits:
        missing = ", ".join(map(str, result.row.missing_splits))
        there = ", ".join(str(number) for number in sorted(number for number in mine if number is not None))
        raise InvalidRequest("split", "mean", f"a split that {field} has: {there}; its mean lacks {missing}")
    parts: dict[int, list[Answers]] = {}
    for (number, seed), said in found.answers.items():
        if split in (None, number):
            if said is None:
                what = f"{stream}, split {number}, seed {seed} of {experiment.id}"
                raise Conflict(
                    f"{field}: what was said of each clip was not kept of {what}: an earlier version did not"
                )
            parts.setdefault(number, []).append(said)
    return System(experiment, result, parts)


def _require_same_clips(field: str, first: System, other: System) -> None:
    one, two = first.result.row, other.result.row
    id_, known = other.experiment.id, first.experiment.id
    if one.revision != two.revision:
        allowed = (
            f"measured on revision {one.revision} of dataset {one.dataset}, as {known} is; it is on {two.revision}"
        )
        raise InvalidRequest(field, id_, allowed)
    if first.parts.keys() != other.parts.keys():
        splits = [", ".join(map(str, sorted(system.parts))) for system in (first, other)]
        raise InvalidRequest(field, id_, f"measured on splits {splits[0]}, as {known} is; it is on {splits[1]}")
    for number, answers in first.parts.items():
        left, right = answers[0].test, other.parts[number][0].test
        if left.digest == right.digest:
            continue
        counts = f"{len(left.labels)} and {counted(len(right.labels), 'clip')}"
        what = {
            f"the clips of split {number} differ ({counts})": left.clips != right.clips,
            f"the classes of split {number} differ": left.classes != right.classes,
        }
        why = next((words for words, holds in what.items() if holds), f"the labels of split {number} differ")
        raise InvalidRequest(field, id_, f"measured on the clips of {known}; {why}")
