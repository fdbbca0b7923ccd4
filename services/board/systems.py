"""Streams of experiments that may be compared clip by clip, and what differs in their specs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import registry
from services.board import pooled, results
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
        pooled: results of the same stream and split of experiments that differ in seeds alone, which are taken along.
    """

    experiment: ExperimentRow
    result: Result
    parts: Parts
    pooled: tuple[Result, ...] = ()

    @property
    def seeds(self) -> list[int]:
        """That every split has."""
        of_splits = [{said.seed for said in answers} for answers in self.parts.values()]
        return sorted(set.intersection(*of_splits))

    def of_seed(self, seed: int) -> dict[int, Answers]:
        """Return the answers of one seed by split."""
        return {split: next(s for s in answers if s.seed == seed) for split, answers in self.parts.items()}


def comparable(
    session: Session,
    named: Sequence[tuple[str, str]],
    *,
    dataset: str | None,
    split: int | None,
    stream: str,
    pool: bool = False,
) -> tuple[list[System], Tested]:
    """Return systems that answered the same clips, and those.

    Args:
        session: a transaction of the caller.
        named: ids of experiments, each with the name of the field that has it; all are compared with the first.
        dataset: on which they are to be; None for any.
        split: None for the mean over splits.
        stream: of all of them.
        pool: whether the seeds of experiments that differ in seeds alone are taken along.

    Raises:
        NotFound: no experiment has the id.
        InvalidRequest: they were measured on other datasets, revisions, splits or clips, or have no such stream.
        Conflict: something is not measured yet, or what was said of each clip was not kept.
    """
    experiments = _experiments(session, [id_ for _, id_ in named])
    _require_dataset(session, named, experiments, dataset)
    found = of_streams(session, [(id_, stream) for _, id_ in named])
    listed = results.of_experiments(session, [id_ for _, id_ in named])
    _require_results(named, experiments, listed)
    systems = [
        _system(field, experiment, listed[experiment.id], own, split, stream)
        for (field, _), experiment, own in zip(named, experiments, found, strict=True)
    ]
    if pool:
        ids = {id_ for _, id_ in named}
        systems = [_with_siblings(session, system, split, stream, ids) for system in systems]
    for (field, _), other in zip(named[1:], systems[1:], strict=True):
        _require_same_clips(field, systems[0], other)
    return systems, Tested({number: answers[0].test for number, answers in systems[0].parts.items()})


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two specs differ, by dotted name, with both values; None where one lacks it."""
    return {name: (values[0], values[1]) for name, values in differing([left, right]).items()}


def differing(specs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """Return the fields that not all specs have alike, by dotted name, with each value; None where one lacks it.

    Members of an ensemble go by their places: ``members.0.weight``.
    """
    fields = [dict(_fields({name: value for name, value in spec.items() if name not in UNSAID})) for spec in specs]
    names = dict.fromkeys(name for each in fields for name in each)
    found = {name: tuple(each.get(name) for each in fields) for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def _fields(spec: Mapping[str, Any], here: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in spec.items():
        if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
            yield from _fields({str(place): each for place, each in enumerate(value)}, f"{here}{name}.")
        elif isinstance(value, Mapping):
            yield from _fields(value, f"{here}{name}.")
        else:
            yield f"{here}{name}", value


def _experiments(session: Session, ids: Sequence[str]) -> list[ExperimentRow]:
    found = {row.id: row for row in session.scalars(select(ExperimentRow).where(ExperimentRow.id.in_(ids)))}
    missing = next((id_ for id_ in ids if id_ not in found), None)
    if missing is not None:
        raise NotFound("experiment", missing)
    return [found[id_] for id_ in ids]


def _require_dataset(
    session: Session, named: Sequence[tuple[str, str]], experiments: Sequence[ExperimentRow], dataset: str | None
) -> None:
    if dataset is not None and all(row.dataset != dataset for row in experiments):
        registry.chosen(session, dataset)  # says which there are
    wanted = experiments[0].dataset if dataset is None else dataset
    for (field, id_), row in zip(named, experiments, strict=True):
        if row.dataset != wanted:
            raise InvalidRequest(field, id_, f"an experiment on dataset {wanted}; it is on {row.dataset}")


def _require_results(
    named: Sequence[tuple[str, str]], experiments: Sequence[ExperimentRow], listed: Mapping[str, Sequence[Result]]
) -> None:
    for (field, id_), row in zip(named, experiments, strict=True):
        if all(each.row.seed is not None for each in listed[id_]):
            raise Conflict(f"{field}: experiment {id_} has no results yet; it is {row.state}")


def _system(
    field: str, experiment: ExperimentRow, listed: Sequence[Result], found: Stream, split: int | None, stream: str
) -> System:
    """Return a system, or say what it lacks."""
    own = [each for each in listed if each.row.seed is None]
    streams = sorted({each.row.stream for each in own})
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


def _with_siblings(session: Session, system: System, split: int | None, stream: str, named: Collection[str]) -> System:
    """Return a system with the seeds of the experiments that differ from it in those alone.

    Raises:
        InvalidRequest: another system that is compared is one of them.
    """
    siblings = pooled.siblings(session, system.experiment.id)
    same = sorted(set(siblings) & set(named))
    if same:
        raise InvalidRequest("pool", True, f"false: {system.experiment.id} and {same[0]} differ in seeds alone")
    ids = [system.experiment.id, *siblings]
    streams = of_streams(session, [(id_, stream) for id_ in ids])
    places = pooled.chosen(streams)
    parts: dict[int, list[Answers]] = {}
    for (number, _), said in pooled.together(streams[place] for place in places).items():
        if split in (None, number):
            parts.setdefault(number, []).append(said)
    others = [result_of(session, ids[place], split, stream) for place in places if place]
    return replace(system, parts=parts, pooled=tuple(each for each in others if each is not None)) if parts else system


def result_of(session: Session, experiment_id: str, split: int | None, stream: str) -> Result | None:
    """Return the result of a stream, the mean over seeds, of a split or over splits; None where there is none."""
    mine = (each for each in results.listing(session, experiment_id) if each.row.seed is None)
    return next((each for each in mine if (each.row.stream, each.row.split) == (stream, split)), None)


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
