"""Writes what finished `fuse` stages measured, and the means of it, as rows of results; reads an experiment's rows.

How a stream was measured stands with the experiment since it was submitted: its spec is not read again, so that no
later version can refuse it here.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from services import revisions
from services.board import localization, means, network, predictions
from services.board.choice import chosen_on_test
from services.board.hits import Ranked
from services.board.localization import Localized, Place
from services.board.means import Measured, Row, Value
from services.board.protocol import BoxProtocol, with_boxes, with_test_epoch
from services.db.tables import (
    ExperimentRow,
    ExperimentStageRow,
    ExperimentStreamRow,
    ProtocolRow,
    ResultHitsRow,
    ResultRow,
    ResultValueRow,
    StageRow,
)
from services.errors import Finding
from services.journal import outbox
from services.metrics import METRICS
from services.revisions import Revision

ONCE = ("experiment_id", "stream", "split", "seed")
"""What a result is known by."""


@dataclass(frozen=True)
class Result:
    """A row of an experiment's results, with the line of its protocol, its values by metric, and what is doubtful.

    ``selected_on_test`` says that the epoch of some training was chosen on the test list. ``box_protocol`` is the line
    by which the metrics of boxes are measured, ``boxes`` the hash of the true ones; None where there are no such.
    """

    row: ResultRow
    protocol: str
    values: Mapping[str, Value]
    selected_on_test: bool = False
    flags: Sequence[Mapping[str, Any]] = ()
    box_protocol: str | None = None
    boxes: str | None = None


def collect(session: Session, experiment: ExperimentRow) -> None:
    """Write the results of every finished `fuse` stage of an experiment; written again they stay the same."""
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(
            ExperimentStageRow.experiment_id == experiment.id,
            StageRow.kind.in_(("index", *TRAINING, "score", "localize", "fuse")),
            StageRow.state.in_(("succeeded", "evicted")),  # its numbers stay, whatever becomes of its files
        )
    )
    stages = list(session.scalars(query))
    # Beside its own there may be those of datasets on which the weights were trained from which it starts.
    own = [stage for stage in stages if stage.kind == "index" and stage.params["dataset"] == experiment.dataset]
    index = max(own, key=lambda stage: int(stage.params["revision"]), default=None)
    scored = [stage for stage in stages if stage.kind == "score"]
    _note_flags(session, experiment, index, scored, [stage for stage in stages if stage.kind in TRAINING])
    revision = revisions.measured_on(session, experiment.dataset, index)
    fused = [stage for stage in stages if stage.kind == "fuse"]
    ensembles = [stage for stage in fused if stage.params.get("members")]  # beside what members fuse of their streams
    measured = _read(session, ensembles or fused)
    localized = {} if ensembles else localization.of_stages([stage for stage in stages if stage.kind == "localize"])
    streams = session.scalars(select(ExperimentStreamRow).where(ExperimentStreamRow.experiment_id == experiment.id))
    measurements = {row.stream: row for row in streams}
    _note_choices(session, measurements, scored)
    numbers: dict[str, float] = {}
    rows: list[Row] = []
    for stream in sorted({entry.stream for entry in measured}):
        mine = [entry for entry in measured if entry.stream == stream]
        boxed, box_protocol = _with_boxes(session, experiment, measurements[stream], mine, localized)
        rows = means.rows(boxed, revision)
        write(session, experiment, measurements[stream], revision, rows, box_protocol)
        numbers |= _metrics_of(stream, rows)
    numbers |= _deciding(rows)  # those of both streams come last
    outbox.add_results(session, experiment.id, numbers, int(time.time() * 1000))
    outbox.add_exhibits(session, experiment.id)


def _note_flags(
    session: Session,
    experiment: ExperimentRow,
    index: StageRow | None,
    scored: Sequence[StageRow],
    trained: Sequence[StageRow],
) -> None:
    """Keep what the `index` stage found doubtful in the lists, where the API could not read them itself.

    Where every `score` stage found that the weights say what they have seen, and that it tests on none of it, they are
    unknown no more. What they say against themselves is kept, whatever was known at submission.
    """
    found = [] if index is None else (index.summary or {}).get("findings", [])
    mine = [entry for entry in found if entry["split"] in experiment.spec["splits"]]
    flags = [{name: value for name, value in entry.items() if name != "split"} for entry in mine]
    said = [stage.summary or {} for stage in scored]
    known = bool(said) and all(each.get("weights_known") is True for each in said)
    before = [flag for flag in experiment.flags if not (known and flag["code"] == "weights_unknown")]
    there = {flag["code"] for flag in before}
    if any(each.get("weights_known") is False for each in said):
        flags += [asdict(UNKNOWN)] if UNKNOWN.code not in there else []
    if any(each.get("chosen_on_test") is True for each in said):
        flags += [asdict(CHOSEN)] if CHOSEN.code not in there else []
    if any((stage.summary or {}).get("validation_seen") == experiment.dataset for stage in trained):
        flags += [asdict(VALIDATED)] if VALIDATED.code not in there else []
    after = [*before, *(flag for flag in flags if flag not in before)]
    if after != experiment.flags:
        set_flags(session, experiment, after)


def _note_choices(
    session: Session, measurements: Mapping[str, ExperimentStreamRow], scored: Sequence[StageRow]
) -> None:
    """Have streams be measured as what they are whose weights say that test clips chose an epoch of them."""
    chosen = {network.filed(stage.params) for stage in scored if (stage.summary or {}).get("chosen_on_test") is True}
    if not chosen:
        return
    stored = {stream: session.get_one(ProtocolRow, row.protocol) for stream, row in sorted(measurements.items())}
    lines = {stream: row.line for stream, row in stored.items()}
    for stream, row in stored.items():
        mine = stream in chosen or stream == "two-stream" or "ensemble" in row.fields
        if mine and not chosen_on_test(row.fields):
            worded = with_test_epoch(row.fields, row.line)
            session.execute(insert(ProtocolRow).values(worded._asdict()).on_conflict_do_nothing())
            measurements[stream].protocol, lines[stream] = worded.digest, worded.line
    session.flush()
    if any(lines[stream] != row.line for stream, row in stored.items()):
        (experiment_id,) = {row.experiment_id for row in measurements.values()}
        outbox.tag_experiment(session, experiment_id, protocol=outbox.protocol_tag(lines))


UNKNOWN = Finding(
    "weights_unknown", "flagged", "backbone.weights", "nobody can say on which clips the first weights were trained"
)
CHOSEN = Finding(
    "selected_on_test", "flagged", "backbone.weights", "the weights say that test clips chose an epoch of them"
)
VALIDATED = Finding(
    "validation_seen",
    "flagged",
    "training.selection",
    "the weights say that they were trained on the held-out clips that chose an epoch: the accuracy says too much",
)
TRAINING = ("finetune", "train")
BOXES_DIFFER = "the true boxes changed while the experiment ran: no metric of boxes is kept"


def _with_boxes(
    session: Session,
    experiment: ExperimentRow,
    measurement: ExperimentStreamRow,
    entries: Sequence[Measured],
    localized: Mapping[Place, Localized],
) -> tuple[list[Measured], str | None]:
    """Return what was measured of a stream with the metrics of its boxes, and the digest of how those are measured.

    Boxes of which some were measured against other true ones than others have no mean, and are left out.
    """
    found = [localized.get((entry.stream, entry.split, entry.seed)) for entry in entries]
    looks = {
        BoxProtocol(boxes=each.boxes, threshold=each.threshold, smoothing=each.smoothing)
        for each in found
        if each is not None
    }
    if len(looks) != 1:
        if looks:
            _flag(session, experiment, asdict(Finding("boxes_differ", "flagged", "dataset", BOXES_DIFFER)))
        return list(entries), None
    stored = session.get_one(ProtocolRow, measurement.protocol)
    worded = with_boxes(stored.fields, stored.line, looks.pop())
    session.execute(insert(ProtocolRow).values(worded._asdict()).on_conflict_do_nothing())
    boxed = [
        entry if each is None else replace(entry, values={**entry.values, **each.values})
        for entry, each in zip(entries, found, strict=True)
    ]
    return boxed, worded.digest


def _flag(session: Session, experiment: ExperimentRow, flag: Mapping[str, Any]) -> None:
    """Have a flag stand on an experiment, once."""
    if flag not in experiment.flags:
        set_flags(session, experiment, [*experiment.flags, dict(flag)])


def set_flags(session: Session, experiment: ExperimentRow, flags: list[dict[str, Any]]) -> None:
    """Have these flags stand on an experiment, and on its run in MLflow."""
    experiment.flags = flags
    outbox.tag_experiment(session, experiment.id, flags=", ".join(sorted({flag["code"] for flag in flags})))


def listing(session: Session, experiment_id: str) -> list[Result]:
    """Return an experiment's results by stream; a mean comes after what it is the mean of."""
    return of_experiments(session, [experiment_id])[experiment_id]


def of_experiments(session: Session, experiment_ids: Collection[str]) -> dict[str, list[Result]]:
    """Return the results of each of some experiments, likewise, by as many queries as of one."""
    mine = ResultRow.experiment_id.in_(experiment_ids)
    found: dict[str, list[Result]] = {id_: [] for id_ in experiment_ids}
    boxes = aliased(ProtocolRow)
    query = (
        select(ResultRow, ProtocolRow, boxes)
        .join(ProtocolRow, ProtocolRow.digest == ResultRow.protocol)
        .outerjoin(boxes, boxes.digest == ResultRow.box_protocol)
        .where(mine)
    )
    order = (ResultRow.stream, ResultRow.split.nulls_last(), ResultRow.seed.nulls_last())
    rows = session.execute(query.order_by(*order)).all()
    if not rows:
        return found
    values = _numbers(session, mine)
    flagged = select(ExperimentRow.id, ExperimentRow.flags).where(ExperimentRow.id.in_(experiment_ids))
    flags = {id_: own or [] for id_, own in session.execute(flagged)}
    for row, protocol, by in rows:
        of = row.experiment_id
        found[of].append(_result(row, protocol, by, values.get(row.id, {}), flags.get(of, [])))
    return found


def _numbers(session: Session, mine: ColumnElement[bool]) -> dict[int, dict[str, Value]]:
    """Return the values of results by metric."""
    kept = ResultValueRow
    query = select(kept.result_id, kept.metric, kept.value, kept.spread, kept.lower, kept.upper)
    found: dict[int, dict[str, Value]] = {}
    rows = session.execute(query.join(ResultRow, ResultRow.id == kept.result_id).where(mine))
    for id_, metric, value, spread, lower, upper in rows:
        found.setdefault(id_, {})[metric] = Value(value, spread, lower, upper)
    return found


def places(session: Session, experiment_ids: Collection[str]) -> dict[str, set[tuple[str, int | None]]]:
    """Return the streams and splits, None for their mean, of which each of some experiments has a number."""
    query = select(ResultRow.experiment_id, ResultRow.stream, ResultRow.split)
    measured = (ResultRow.seed.is_(None), ResultRow.missing_splits == [])
    found: dict[str, set[tuple[str, int | None]]] = {id_: set() for id_ in experiment_ids}
    for id_, stream, split in session.execute(query.where(ResultRow.experiment_id.in_(experiment_ids), *measured)):
        found[id_].add((stream, split))
    return found


def _result(
    row: ResultRow,
    protocol: ProtocolRow,
    boxes: ProtocolRow | None,
    values: Mapping[str, Value],
    flags: Sequence[Mapping[str, Any]],
) -> Result:
    found = Result(row, protocol.line, values, chosen_on_test(protocol.fields), flags)
    if boxes is None:
        return found
    return replace(found, box_protocol=boxes.line, boxes=boxes.fields["localization"]["boxes"])


def _read(session: Session, stages: Sequence[StageRow]) -> list[Measured]:
    """Return what `fuse` stages measured, and what was said of each clip."""
    entries = [(stage, entry) for stage in stages for entry in (stage.summary or {}).get("results", [])]
    known = predictions.ranked(session, {entry["predictions"] for _, entry in entries if "predictions" in entry})
    return [_measured(stage, entry, known) for stage, entry in entries]


def _measured(stage: StageRow, entry: Mapping[str, Any], known: Mapping[str, Ranked]) -> Measured:
    numbers = entry["metrics"]
    prediction = entry.get("predictions")
    answers = None if prediction is None else known.get(prediction)
    return Measured(
        stream=entry["stream"],
        split=entry["split"],
        seed=entry["seed"],
        values={name: numbers[name] for name in METRICS if isinstance(numbers.get(name), int | float)},
        categories=entry.get("per_category", {}),
        clips=numbers["clips"],
        ranks=None if answers is None else answers.ranks,
        hits=_bits(entry["hits"], numbers["clips"]) if "hits" in entry else None,
        prediction=prediction,
        truth=None if answers is None else answers.truth,
        stage_key=stage.key,
    )


def _bits(text: str, count: int) -> tuple[bool, ...]:
    """Return the first bits of packed bytes in base64, the highest bit of a byte first, as version 2 of `fuse` said."""
    packed = base64.b64decode(text)
    return tuple(bool(packed[index >> 3] >> (7 - index & 7) & 1) for index in range(count))


def write(
    session: Session,
    experiment: ExperimentRow,
    measurement: ExperimentStreamRow,
    revision: Revision,
    rows: Sequence[Row],
    box_protocol: str | None = None,
) -> None:
    """Write the rows of one stream, and their values, in place of those that are there.

    ``box_protocol`` is the digest of how the metrics of boxes are measured, which are ranked by it.
    """
    board = {
        "dataset": experiment.dataset,
        "stream": measurement.stream,
        "revision": revision.number,
        "protocol": measurement.protocol,
    }
    shared: dict[str, Any] = {"experiment_id": experiment.id, "model": measurement.model, "name": experiment.name}
    ranked = experiment.withdrawn_at is None
    shared |= {"source": measurement.source, "uploaded": measurement.uploaded, "box_protocol": box_protocol}
    shared["withdrawn"] = not ranked
    columns = [{**board, **shared, "excluded": revision.excluded, **_columns(row)} for row in rows]
    query = insert(ResultRow).values(columns)
    changed = {name: query.excluded[name] for name in columns[0] if name not in ONCE}
    written = query.on_conflict_do_update(index_elements=ONCE, set_=changed)
    found = session.execute(written.returning(ResultRow.id, ResultRow.split, ResultRow.seed))
    ids = {(split, seed): id_ for id_, split, seed in found}
    for table in (ResultValueRow, ResultHitsRow):
        session.execute(delete(table).where(table.result_id.in_(ids.values())))
    board |= {"model": measurement.model, "source": source_of(measurement)}
    values = [
        value for row in rows for value in _values(ids[row.split, row.seed], row, board, box_protocol, ranked=ranked)
    ]
    if values:
        session.execute(insert(ResultValueRow).values(values))
    hits = [
        {"result_id": ids[row.split, row.seed], "within": within, **asdict(found)}
        for row in rows
        for within, found in row.hits.items()
    ]
    if hits:
        session.execute(insert(ResultHitsRow).values(hits))


def _columns(row: Row) -> dict[str, Any]:
    return {
        "split": row.split,
        "seed": row.seed,
        "seeds": row.seeds,
        "clips": row.clips,
        "missing_splits": list(row.missing_splits),
        "categories": row.categories,
        "prediction": row.prediction,
        "stage_key": row.stage_key,
    }


def source_of(measurement: ExperimentStreamRow) -> str:
    """Return by which source an entry is asked for; of an ensemble of what was brought, that it was."""
    if measurement.uploaded:
        return "uploaded"
    return "ensemble" if measurement.source == "ensemble" else "trained"


def _values(
    result_id: int, row: Row, board: Mapping[str, Any], box_protocol: str | None, *, ranked: bool
) -> Iterable[dict[str, Any]]:
    """Yield the values of a result; those that are ranked say on which board."""
    place = {**board, "split": row.split or 0, "seeds": row.seeds}
    ranked = ranked and row.seed is None
    if not ranked:
        place = dict.fromkeys(place)
    for name, value in row.values.items():
        numbers = {"value": value.value, "spread": value.spread, "lower": value.lower, "upper": value.upper}
        known = METRICS[name]
        own = {} if known.overlap is None or not ranked else {"protocol": box_protocol}
        yield {"result_id": result_id, "metric": name, "merit": known.merit(value.value), **numbers, **place, **own}


def _metrics_of(stream: str, rows: Iterable[Row]) -> dict[str, float]:
    """Return the numbers of a parent run, named alike for every model: ``two-stream.top1.split_1``, ``.mean``."""
    return {
        f"{stream}.{name}.{'mean' if row.split is None else 'split_' + str(row.split)}": value.value
        for row in rows
        if row.seed is None
        for name, value in row.values.items()
    }


def _deciding(rows: Sequence[Row]) -> dict[str, float]:
    """Return the numbers by which a system is judged, by bare names: means over splits, or those of its only one."""
    ranked = [row for row in rows if row.seed is None and row.values]
    means_of_splits = [row for row in ranked if row.split is None]
    chosen = means_of_splits or (ranked if len(ranked) == 1 else [])
    return {name: value.value for row in chosen for name, value in row.values.items()}
