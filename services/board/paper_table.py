"""A paper's table beside what was measured here: for each figure the newest experiment behind its row that has it.

An experiment on the paper's own dataset comes before one on another, a whole one before a reduced one. What is printed
is taken as exact; the interval of a difference is that of the measured number, over test clips.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, INTEGER, JSONB, TEXT
from sqlalchemy.orm import Session

from services.board import answers, network, pooled
from services.board.answers import Answers
from services.board.choice import chosen_on_test
from services.board.means import Value
from services.db.tables import PaperRow
from services.metrics import MEAN_IOU
from services.papers import PAPERS, PrintedFigure, figures_of
from services.statistics.intervals import wilson

NEWEST = 10
"""Experiments of one system behind a row that are looked at, and of those that have succeeded."""
PLACE = "paper = :paper AND table_name = :table AND paper_row.row = wanted.row AND paper_row.dataset = wanted.dataset"
SAME = f"{PLACE} AND paper_row.system = made.system AND paper_row.part = made.part AND paper_row.reduced = made.reduced"
# A lateral query with a limit or an offset is read by index for each row, however many there are in the end.
LINKS = text(f"""
SELECT wanted.row, wanted.dataset AS measures, link.experiment_id, made.part, made.reduced, made.system,
       experiment.state, withdrawn_at IS NOT NULL AS withdrawn,
       experiment.dataset, experiment.flags, experiment.spec -> 'splits' AS splits, experiment.spec -> 'seeds' AS seeds
FROM jsonb_to_recordset(:wanted) AS wanted (row text, dataset text)
CROSS JOIN LATERAL (SELECT DISTINCT system, part, reduced FROM paper_row WHERE {PLACE}) AS made
CROSS JOIN LATERAL (
    (SELECT experiment_id FROM paper_row WHERE {SAME} ORDER BY experiment_id DESC LIMIT :newest)
    UNION
    (SELECT experiment_id FROM paper_row
     CROSS JOIN LATERAL (SELECT state, withdrawn_at FROM experiment WHERE id = experiment_id LIMIT 1) AS its
     WHERE {SAME} AND state = 'succeeded' AND withdrawn_at IS NULL ORDER BY experiment_id DESC LIMIT :newest)
) AS link
CROSS JOIN LATERAL (SELECT * FROM experiment WHERE id = link.experiment_id LIMIT 1) AS experiment
ORDER BY link.experiment_id DESC, made.part
""").bindparams(bindparam("wanted", type_=JSONB))  # noqa: S608 - of fixed parts; values are bound
RESULTS = text("""
SELECT experiment_id, result.stream, coalesce(result.split, 0) AS split, result.seeds, clips, result.revision,
       missing_splits, protocol.line, boxes.line AS box_line, protocol.fields, value, spread, lower, upper
FROM unnest(:ids) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM result
    WHERE experiment_id = wanted.id AND stream = ANY(:streams) AND coalesce(split, 0) = ANY(:splits) AND seed IS NULL
    AND NOT withdrawn
    OFFSET 0
) AS result
LEFT JOIN LATERAL (SELECT * FROM result_value WHERE result_id = result.id AND metric = 'top1' LIMIT 1) AS top1 ON true
JOIN protocol ON protocol.digest = result.protocol
LEFT JOIN protocol AS boxes ON boxes.digest = result.box_protocol
""").bindparams(
    bindparam("ids", type_=ARRAY(TEXT)),
    bindparam("streams", type_=ARRAY(TEXT)),
    bindparam("splits", type_=ARRAY(INTEGER)),
)
CURVES = text("""
SELECT experiment_id, params, summary FROM experiment_stage JOIN stage ON key = stage_key
WHERE experiment_id = ANY(:ids) AND kind = 'localize' AND summary IS NOT NULL
ORDER BY position
""").bindparams(bindparam("ids", type_=ARRAY(TEXT)))
CURVE_NAMES = {"recall": "recall", "video_map": "map"}
"""Of a drawn figure's metric, in the summary of `localize`."""

Results = Mapping[tuple[str, str, int], Any]


@dataclass(frozen=True)
class Behind:
    """An experiment behind a row; ``part`` is -1 for a member of the ensemble that has the value.

    ``system`` is the hash of what is measured, whatever the splits, streams and seeds.
    """

    experiment_id: str
    part: int
    state: str
    dataset: str
    splits: tuple[int, ...]
    seeds: tuple[int, ...]
    reduced: bool
    flags: tuple[Mapping[str, Any], ...]
    system: str = ""
    withdrawn: bool = False


@dataclass(frozen=True)
class Measured:
    """What an experiment measured of a figure.

    Attributes:
        behind: the experiment.
        value: a share between 0 and 1, with its deviation over seeds and its 95 % interval; None for a curve.
        curve: of a drawn figure, by intersection over union, a mean over seeds.
        pooled: experiments whose seeds are taken together, which differ in nothing else; none where it is one.
    """

    behind: Behind
    value: Value | None
    seeds: int
    clips: int | None
    revision: int
    protocol: str
    selected_on_test: bool
    curve: Mapping[str, float] = field(default_factory=dict)
    pooled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """A curve of a drawn figure: its name in the figure, and what was measured of it; None where nothing was."""

    name: str
    measured: Measured | None


@dataclass(frozen=True)
class Line:
    """A figure, what was measured of it, by which experiments, and what is missing; None where nothing is.

    ``curves`` are those of a drawn figure, the first of which is what was measured of it.
    """

    figure: PrintedFigure
    measured: Measured | None
    experiments: tuple[Behind, ...]
    missing: str | None
    curves: tuple[Curve, ...] = ()

    @property
    def difference(self) -> Value | None:
        """Measured less printed, or corrected, in points, with its interval."""
        value, said = None if self.measured is None else self.measured.value, self.figure.said
        if value is None or said is None:
            return None
        bounds = (None if bound is None else 100 * bound - said for bound in (value.lower, value.upper))
        return Value(100 * value.value - said, None, *bounds)


def filled(session: Session, paper: str, table: str) -> tuple[Line, ...]:
    """Return a table's figures, each beside what was measured."""
    figures = figures_of(paper, table)
    links = _links(session, paper, table, figures)
    ids = sorted({behind.experiment_id for found in links.values() for behind in found if behind.part >= 0})
    results = _results(session, ids, figures)
    curves = _curves(session, ids) if any(figure.drawn for figure in figures) else {}
    said: dict[tuple[str, str], answers.Stream] = {}
    lines = []
    for figure in figures:
        found = links.get((figure.row, figure.dataset), ())
        measured = next(_measured(session, figure, found, results, said), None)
        drawn = tuple(
            Curve(source.curve, next(_drawn(figure, part, found, results, curves), None))
            for part, source in enumerate(figure.sources)
            if source.curve is not None
        )
        measured = drawn[0].measured if drawn else measured
        lines.append(Line(figure, measured, found, _missing(figure, measured, found, results, drawn), drawn))
    return tuple(lines)


def of_experiment(session: Session, experiment_id: str) -> tuple[tuple[PrintedFigure, bool], ...]:
    """Return the figures whose value an experiment is to have, in the papers' order, each with whether it is reduced.

    What a paper of this version does not have is left out.
    """
    rows = session.execute(
        select(PaperRow.paper, PaperRow.table_name, PaperRow.row, PaperRow.dataset, PaperRow.reduced).where(
            PaperRow.experiment_id == experiment_id, PaperRow.part == 0
        )
    )
    reduced = {(row.paper, row.table_name, row.row, row.dataset): row.reduced for row in rows}
    tables = {place[:2] for place in reduced}
    return tuple(
        (figure, reduced[place])
        for paper in PAPERS.values()
        for table in paper.tables
        if (paper.name, table.name) in tables
        for figure in figures_of(paper.name, table.name)
        if figure.own and (place := (paper.name, table.name, figure.row, figure.dataset)) in reduced
    )


def _links(
    session: Session, paper: str, table: str, figures: Iterable[PrintedFigure]
) -> dict[tuple[str, str], tuple[Behind, ...]]:
    places = dict.fromkeys((figure.row, figure.dataset) for figure in figures if figure.own)
    wanted = [{"row": row, "dataset": dataset} for row, dataset in places]
    query = {"wanted": wanted, "paper": paper, "table": table, "newest": NEWEST}
    found: dict[tuple[str, str], list[Behind]] = {}
    for row in session.execute(LINKS, query):
        behind = Behind(
            row.experiment_id,
            row.part,
            row.state,
            row.dataset,
            tuple(row.splits or ()),
            tuple(row.seeds or ()),
            row.reduced,
            tuple(row.flags),
            row.system,
            row.withdrawn,
        )
        found.setdefault((row.row, row.measures), []).append(behind)
    return {place: tuple(members) for place, members in found.items()}


def _results(session: Session, ids: Sequence[str], figures: Iterable[PrintedFigure]) -> Results:
    """Return the rows of the streams and splits that a table has, the mean under split 0."""
    own = [figure for figure in figures if figure.own]
    streams = sorted({figure.reported_as for figure in own})
    splits = sorted({figure.split or 0 for figure in own})
    found = session.execute(RESULTS, {"ids": ids, "streams": streams, "splits": splits})
    return {(row.experiment_id, row.stream, row.split): row for row in found}


def _curves(session: Session, ids: Sequence[str]) -> dict[str, list[Any]]:
    """Return the stages that localised, by experiment."""
    found: dict[str, list[Any]] = {}
    for row in session.execute(CURVES, {"ids": ids}):
        found.setdefault(row.experiment_id, []).append(row)
    return found


def _measured(
    session: Session,
    figure: PrintedFigure,
    found: Iterable[Behind],
    results: Results,
    said: dict[tuple[str, str], answers.Stream],
) -> Iterator[Measured]:
    """Yield what experiments measured of a figure that is a number, the one first that says most of it."""
    standing = [] if figure.drawn else list(_standing(figure, 0, found, results))
    for behind, row in standing:
        alike = _alike(behind, row, standing)
        if figure.metric == "top1" and row.value is None:
            continue
        if figure.metric == "top1" and len(alike) == 1:
            yield _of(behind, row, Value(row.value, row.spread, row.lower, row.upper))
            continue
        streams = _streams(session, figure, [each.experiment_id for each in alike], said)
        places = pooled.chosen(streams) or [0]
        taken = pooled.together(streams[place] for place in places)
        value = _value(session, figure, behind, row, taken)
        if value is None:
            continue
        measured = _of(behind, row, value)
        if len(places) > 1:
            ids = tuple(alike[place].experiment_id for place in places)
            measured = replace(measured, seeds=len({seed for _, seed in taken}), pooled=ids)
        yield measured


def _alike(behind: Behind, row: Any, standing: Iterable[tuple[Behind, Any]]) -> list[Behind]:
    """Return an experiment, and those that are of the same system with other seeds, the newest first."""
    others = [
        other
        for other, its in standing
        if other is not behind
        and (other.system, other.dataset, other.reduced) == (behind.system, behind.dataset, behind.reduced)
        and (its.line, its.revision) == (row.line, row.revision)
        and set(other.seeds).isdisjoint(behind.seeds)
        and its.value is not None
    ]
    return [behind, *others]


def _streams(
    session: Session, figure: PrintedFigure, ids: Sequence[str], said: dict[tuple[str, str], answers.Stream]
) -> list[answers.Stream]:
    """Return the answers of experiments, each read once for all figures."""
    keys = [(id_, figure.reported_as) for id_ in ids]
    missing = [key for key in keys if key not in said]
    said |= dict(zip(missing, answers.of_streams(session, missing), strict=True))
    return [said[key] for key in keys]


def _value(
    session: Session, figure: PrintedFigure, behind: Behind, row: Any, taken: Mapping[tuple[int, int], Answers]
) -> Value | None:
    """Return a figure's value of answers; that of the experiment alone where theirs say none."""
    if figure.metric != "top1":
        return _of_part(figure, taken)
    found = pooled.row_of(session, behind.dataset, row.revision, taken, figure.split)
    if found is None:
        return Value(row.value, row.spread, row.lower, row.upper)
    return found.values["top1"]


def _drawn(
    figure: PrintedFigure,
    part: int,
    found: Iterable[Behind],
    results: Results,
    curves: Mapping[str, Sequence[Any]],
) -> Iterator[Measured]:
    """Yield the curves that experiments measured of a part of a drawn figure, likewise."""
    for behind, row in _standing(figure, part, found, results):
        curve = _curve(figure, curves.get(behind.experiment_id, ()))
        if curve:
            yield replace(_of(behind, row, None), curve=curve, protocol=row.box_line or row.line)


def _standing(
    figure: PrintedFigure, part: int, found: Iterable[Behind], results: Results
) -> Iterator[tuple[Behind, Any]]:
    """Yield the experiments of a part of a figure that have its stream and split, with that row of their results."""
    mine = [behind for behind in found if behind.part == part]
    for behind in sorted(mine, key=lambda behind: (behind.dataset != figure.dataset, behind.reduced)):
        row = results.get((behind.experiment_id, figure.reported_as, figure.split or 0))
        if row is not None:
            yield behind, row


def _of(behind: Behind, row: Any, value: Value | None) -> Measured:
    on_test = chosen_on_test(row.fields)
    return Measured(behind, value, row.seeds, row.clips, row.revision, row.line, on_test)


def _curve(figure: PrintedFigure, stages: Sequence[Any]) -> dict[str, float]:
    """Return a figure's metric by intersection over union, a mean over seeds."""
    mine = [
        row.summary.get(CURVE_NAMES[figure.metric], {})
        for row in stages
        if row.params["split"] == figure.split and network.filed(row.params) == figure.reported_as
    ]
    common = [iou for iou in mine[0] if iou != MEAN_IOU and all(iou in values for values in mine)] if mine else []
    return {iou: statistics.fmean(values[iou] for values in mine) for iou in common}


def _of_part(figure: PrintedFigure, said: Mapping[tuple[int, int], Answers]) -> Value | None:
    """Return the accuracy on the clips of a class or a category, pooled over them, a mean over seeds."""
    rates: list[float] = []
    clips = 0
    for (split, _), found in said.items():
        if split != figure.split:
            continue
        names = found.test.classes if figure.metric == "class" else found.test.categories or ()
        right = found.right[
            np.isin(found.test.labels, [label for label, name in enumerate(names) if name == figure.of])
        ]
        if len(right):
            rates, clips = [*rates, float(right.mean())], len(right)
    if not rates:
        return None
    value = statistics.fmean(rates)
    return Value(value, statistics.stdev(rates) if len(rates) > 1 else None, *wilson(value, clips))


def _missing(
    figure: PrintedFigure,
    measured: Measured | None,
    found: Sequence[Behind],
    results: Results,
    curves: Sequence[Curve],
) -> str | None:
    """Say what a figure lacks of being measured as the paper has it."""
    if not figure.own:
        return None
    if measured is not None:
        if measured.behind.dataset != figure.dataset:
            return f"measured on {measured.behind.dataset}, not on {figure.dataset}"
        if measured.behind.reduced:
            return "measured in a reduced form"
        lacking = [curve.name for curve in curves if curve.measured is None]
        return f"without the curves of {', '.join(lacking)}" if lacking else None
    mine = [behind for behind in found if behind.part == 0]
    return _lacking(figure, mine, results) if mine else "not launched"


def _lacking(figure: PrintedFigure, mine: Sequence[Behind], results: Results) -> str:
    """Say why experiments have no value of a figure: the newest, unless that has ended well with another column's."""
    place = figure.reported_as, figure.split or 0
    ended = [each.state == "succeeded" and (each.experiment_id, *place) not in results for each in mine]
    newest = next((each for each, other in zip(mine, ended, strict=True) if not other or each.withdrawn), mine[0])
    row = results.get((newest.experiment_id, *place))
    if row is None and newest.withdrawn:
        return f"experiment {newest.experiment_id} was withdrawn"
    if row is None and newest.state == "succeeded":
        return (
            f"experiment {newest.experiment_id} has no results of {figure.reported_as}, split {figure.split or 'mean'}"
        )
    if row is None:
        return f"experiment {newest.experiment_id} is {newest.state}"
    if row.missing_splits:
        splits = ", ".join(map(str, row.missing_splits))
        return f"experiment {newest.experiment_id} has no splits {splits}"
    return f"experiment {newest.experiment_id} has no {figure.metric} of {figure.of or figure.reported_as}"
