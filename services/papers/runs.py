"""The experiments behind printed figures: one for each system, over all splits and streams that its figures need."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

from services.papers.printed import PrintedFigure
from services.papers.reduction import WHOLE, Reduction, reduced
from services.papers.registry import PAPERS
from services.papers.shapes import PaperData
from services.recipes import laid_over, resolve
from services.specs import ExperimentSpec, Rule, Stream, SystemStream

Json = dict[str, Any]
ASIDE = {"name", "splits", "streams", "seeds", "priority", "refresh", "resources"}
"""Of a spec, what does not make it another system."""
LATER: Json = {"pictures": 8, "spacing": "even", "validate": False}
"""Fields that came after the first systems were launched, by what they say where nobody asks: left out, so that what
was measured before them stays the same system."""


@dataclass(frozen=True)
class Order:
    """What is to be launched of some figures: with which seeds, and reduced by what."""

    seeds: tuple[int, ...] = (0,)
    by: Reduction = WHOLE
    priority: int = 50


class Skipped(NamedTuple):
    """A figure that cannot be launched, and why."""

    figure: PrintedFigure
    reason: str


MEMBER = -1


class Covered(NamedTuple):
    """A figure behind which an experiment stands.

    ``part`` counts the experiments of a figure that has several, of which 0 has its value; `MEMBER` is a member of the
    ensemble that has it. ``reduced`` says that a reduction has left something of it out.
    """

    figure: PrintedFigure
    part: int
    reduced: bool = False


class RunMember(NamedTuple):
    """A member of an ensemble: a stream of the run with some digest, or score files of some name."""

    digest: str | None
    stream: SystemStream | None
    scores: str | None


@dataclass(frozen=True)
class Run:
    """An experiment or ensemble that is to be there.

    Attributes:
        digest: of the system, without splits, streams and seeds: what has the same one measures the same.
        spec: of an experiment; None for an ensemble.
        recipe: from which it is made.
        members: of an ensemble; runs that they name come before it.
        figures: that need it.
    """

    digest: str
    name: str
    dataset: str
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    figures: tuple[Covered, ...]
    spec: ExperimentSpec | None = None
    recipe: str | None = None
    method: Rule = "probabilities"
    members: tuple[RunMember, ...] = ()


@dataclass
class _Needed:
    """What some figures need of one system."""

    system: _System
    splits: set[int] = field(default_factory=set)
    streams: set[SystemStream] = field(default_factory=set)
    figures: list[Covered] = field(default_factory=list)


@dataclass(frozen=True)
class _System:
    """A system on a dataset: the body of an experiment, or the members of an ensemble."""

    digest: str
    dataset: str
    text: str = "{}"
    members: tuple[RunMember, ...] = ()
    parts: tuple[_System, ...] = ()
    method: Rule = "probabilities"

    @property
    def body(self) -> Json:
        """What is submitted, without splits, streams and seeds."""
        found: Json = json.loads(self.text)
        return found


def runs(
    figures: Iterable[PrintedFigure], order: Order, splits: Mapping[str, Sequence[int]]
) -> tuple[tuple[Run, ...], tuple[Skipped, ...]]:
    """Return the experiments that figures need, members before ensembles, and the figures that cannot be had.

    Args:
        figures: of papers, which measured them themselves.
        order: seeds and reduction.
        splits: that each dataset has.

    Raises:
        pydantic.ValidationError: a system cannot be reduced so.
    """
    needed: dict[str, _Needed] = {}
    skipped = []
    for figure in figures:
        has = splits[order.by.dataset or figure.dataset]
        wanted = has if figure.split is None else [split for split in has if split == figure.split]
        if not wanted:
            skipped.append(Skipped(figure, f"the dataset has no split {figure.split}"))
            continue
        for part, source in enumerate(figure.sources):
            named = figure.paper, source.system, _canonical(source.changes), figure.dataset
            system, whole = _system(*named, order.by), _system(*named, WHOLE)
            unreduced = {each.digest for each in (whole, *whole.parts)}
            _need(needed, system, wanted, figure.reported_as, Covered(figure, part), unreduced)
    ordered = sorted(needed.values(), key=lambda each: bool(each.system.members))
    return tuple(_run(each, order) for each in ordered), tuple(skipped)


def bodies(figure: PrintedFigure) -> list[Json]:
    """Return what `POST /experiments` takes to make a figure; members of an ensemble are to be submitted first."""
    found = []
    for source in figure.sources:
        system = _system(figure.paper, source.system, _canonical(source.changes), figure.dataset, WHOLE)
        members = [
            {"scores": member.scores} if member.scores else {"system": part.body, "stream": member.stream}
            for member, part in _members(system)
        ]
        ensemble = {"dataset": system.dataset, "method": system.method, "members": members}
        found.append(ensemble if members else system.body)
    return found


def _members(system: _System) -> Iterable[tuple[RunMember, _System]]:
    parts = {part.digest: part for part in system.parts}
    return [(member, parts.get(member.digest or "", system)) for member in system.members]


def _need(
    needed: dict[str, _Needed],
    system: _System,
    splits: Iterable[int],
    stream: SystemStream,
    covered: Covered,
    unreduced: Collection[str],
) -> None:
    for member, part in _members(system):
        if member.digest is not None:
            assert member.stream is not None
            _need(needed, part, splits, member.stream, covered._replace(part=MEMBER), unreduced)
    found = needed.setdefault(system.digest, _Needed(system))
    found.splits |= set(splits)
    found.streams.add(stream)
    found.figures.append(covered._replace(reduced=system.digest not in unreduced))


def _run(needed: _Needed, order: Order) -> Run:
    system, splits = needed.system, tuple(sorted(needed.splits))
    first = max(needed.figures, key=lambda covered: covered.part != MEMBER)
    paper, figure = PAPERS[first.figure.paper], first.figure
    name = f"{paper.short}, {_place(figure.table)}: {figure.row}"
    run = Run(
        digest=system.digest,
        name=f"{name}, a member"[:200] if first.part == MEMBER else name[:200],
        dataset=system.dataset,
        splits=splits,
        seeds=order.seeds if not system.members or system.parts else order.seeds[:1],  # score files are of no seed
        figures=tuple(needed.figures),
        method=system.method,
        members=system.members,
    )
    if system.members:
        return run
    body = _of_streams(system.body, needed.streams)
    body |= {"name": run.name, "splits": list(splits), "seeds": list(order.seeds), "priority": order.priority}
    return replace(run, spec=_resolved(body, order.by), recipe=system.body["recipe"])


def _place(table: str) -> str:
    return f"Table {table}" if table.isdigit() else table


def _of_streams(body: Json, wanted: set[SystemStream]) -> Json:
    """Return a body for some streams; a network that flow steers needs both, and a flow one that starts from rgb's."""
    spec, _ = resolve(body)
    if spec.model.sees_both:
        return {**body, "streams": ["rgb", "flow"]}
    streams: list[Stream] = [stream for stream in ("rgb", "flow") if stream in wanted or "two-stream" in wanted]
    own = spec.flow_stream
    if streams == ["flow"] and own is not None and own.from_rgb:
        streams = ["rgb", "flow"]
    if streams == ["rgb"]:
        body = {name: value for name, value in body.items() if name != "flow_stream"}
    return {**body, "streams": streams}


@cache
def _system(paper: str, name: str, changes: str, dataset: str, by: Reduction) -> _System:
    data = PAPERS[paper]
    system = data.systems[name]
    target = by.dataset or dataset
    if not system.members:
        body = _body(data, name, json.loads(changes), dataset)
        content = _resolved(body, by).model_dump(mode="json", exclude=ASIDE)
        return _System(_digest(_without_later(content)), target, _canonical(body))
    parts = {
        member.system: _system(paper, member.system, "{}", dataset, by) for member in system.members if member.system
    }
    members = tuple(
        RunMember(parts[member.system].digest if member.system else None, member.stream, member.scores)
        for member in system.members
    )
    content = {"members": members, "method": system.method, "dataset": target}
    assert system.method is not None
    return _System(_digest(content), target, members=members, parts=tuple(parts.values()), method=system.method)


def _body(paper: PaperData, name: str, changes: Json, dataset: str) -> Json:
    """Return the recipe of a system, and all that is laid over it."""
    system = paper.systems[name]
    assert system.recipe is not None
    body = laid_over(laid_over(dict(system.changes), system.by_dataset.get(dataset, {})), changes)
    return {"recipe": system.recipe.format(dataset=dataset), **body}


def _resolved(body: Json, by: Reduction) -> ExperimentSpec:
    spec, _ = resolve(body)
    if by.reduces:
        spec = ExperimentSpec.model_validate(reduced(spec.model_dump(mode="json"), by))
    return spec


def _without_later(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    return {name: _without_later(value) for name, value in part.items() if name not in LATER or LATER[name] != value}


def _digest(content: object) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
