"""Writes what finished `fuse` stages measured, and the means of it, as rows of results; reads an experiment's rows.

How a stream was measured stands with the experiment since it was submitted: its spec is not read again, so that no
later version can refuse it here.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import revisions
from services.board import means, predictions
from services.board.choice import chosen_on_test
from services.board.hits import Ranked
from services.board.means import Measured, Row, Value
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
from services.journal import outbox
from services.metrics import METRICS
from services.revisions import Revision

ONCE = ("experiment_id", "stream", "split", "seed")
"""What a result is known by."""


@dataclass(frozen=True)
class Result:
    """A row of an experiment's results, with the line of its protocol, its values by metric, and what is doubtful.

    ``selected_on_test`` says that the epoch of some training was chosen on the test list.
    """

    row: ResultRow
    protocol: str
    values: Mapping[str, Value]
    selected_on_test: bool = False
    flags: Sequence[Mapping[str, Any]] = ()


def collect(session: Session, experiment: ExperimentRow) -> None:
    """Write the results of every finished `fuse` stage of an experiment; written again they stay the same."""
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(
            ExperimentStageRow.experiment_id == experiment.id,
            StageRow.kind.in_(("index", "score", "fuse")),
            StageRow.state.in_(("succeeded", "evicted")),  # its numbers stay, whatever becomes of its files
        )
    )
    stages = list(session.scalars(query))
    # Beside its own there may be those of datasets on which the weights were trained from which it starts.
    own = [stage for stage in stages if stage.kind == "index" and stage.params["dataset"] == experiment.dataset]
    index = max(own, key=lambda stage: int(stage.params["revision"]), default=None)
    _note_flags(session, experiment, index, [stage for stage in stages if stage.kind == "score"])
    revision = revisions.measured_on(session, experiment.dataset, index)
    fused = [stage for stage in stages if stage.kind == "fuse"]
    ensembles = [stage for stage in fused if stage.params.get("members")]  # beside what members fuse of their streams
    measured = _read(session, ensembles or fused)
    streams = session.scalars(select(ExperimentStreamRow).where(ExperimentStreamRow.experiment_id == experiment.id))
    measurements = {row.stream: row for row in streams}
    for stream in sorted({entry.stream for entry in measured}):
        rows = means.rows([entry for entry in measured if entry.stream == stream], revision)
        write(session, experiment, measurements[stream], revision, rows)
        outbox.add_results(session, experiment.id, _metrics_of(stream, rows), int(time.time() * 1000))


def _note_flags(
    session: Session, experiment: ExperimentRow, index: StageRow | None, scored: Sequence[StageRow]
) -> None:
    """Keep what the `index` stage found doubtful in the lists, where the API could not read them itself.

    Where every `score` stage found that the weights say what they have seen, and that it tests on none of it, they are
    unknown no more.
    """
    found = [] if index is None else (index.summary or {}).get("findings", [])
    mine = [entry for entry in found if entry["split"] in experiment.spec["splits"]]
    flags = [{name: value for name, value in entry.items() if name != "split"} for entry in mine]
    known = bool(scored) and all((stage.summary or {}).get("weights_known") is True for stage in scored)
    before = [flag for flag in experiment.flags if not (known and flag["code"] == "weights_unknown")]
    after = [*before, *(flag for flag in flags if flag not in before)]
    if after != experiment.flags:
        experiment.flags = after
        outbox.tag_experiment(session, experiment.id, flags=", ".join(sorted({flag["code"] for flag in after})))


def listing(session: Session, experiment_id: str) -> list[Result]:
    """Return an experiment's results by stream; a mean comes after what it is the mean of."""
    mine = ResultRow.experiment_id == experiment_id
    values: dict[int, dict[str, Value]] = {}
    found = select(ResultValueRow).join(ResultRow, ResultRow.id == ResultValueRow.result_id).where(mine)
    for value in session.scalars(found):
        values.setdefault(value.result_id, {})[value.metric] = value_of(value)
    flags = session.scalar(select(ExperimentRow.flags).where(ExperimentRow.id == experiment_id)) or []
    query = select(ResultRow, ProtocolRow).join(ProtocolRow, ProtocolRow.digest == ResultRow.protocol).where(mine)
    order = (ResultRow.stream, ResultRow.split.nulls_last(), ResultRow.seed.nulls_last())
    return [
        Result(row, protocol.line, values.get(row.id, {}), chosen_on_test(protocol.fields), flags)
        for row, protocol in session.execute(query.order_by(*order))
    ]


def value_of(row: ResultValueRow) -> Value:
    """Return the number that a row holds."""
    return Value(row.value, row.spread, row.lower, row.upper)


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
) -> None:
    """Write the rows of one stream, and their values, in place of those that are there."""
    board = {
        "dataset": experiment.dataset,
        "stream": measurement.stream,
        "revision": revision.number,
        "protocol": measurement.protocol,
    }
    shared: dict[str, Any] = {"experiment_id": experiment.id, "model": measurement.model, "name": experiment.name}
    shared |= {"source": measurement.source, "uploaded": measurement.uploaded}
    columns = [{**board, **shared, "excluded": revision.excluded, **_columns(row)} for row in rows]
    query = insert(ResultRow).values(columns)
    changed = {name: query.excluded[name] for name in columns[0] if name not in ONCE}
    written = query.on_conflict_do_update(index_elements=ONCE, set_=changed)
    found = session.execute(written.returning(ResultRow.id, ResultRow.split, ResultRow.seed))
    ids = {(split, seed): id_ for id_, split, seed in found}
    for table in (ResultValueRow, ResultHitsRow):
        session.execute(delete(table).where(table.result_id.in_(ids.values())))
    board |= {"model": measurement.model, "source": source_of(measurement)}
    values = [value for row in rows for value in _values(ids[row.split, row.seed], row, board)]
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


def _values(result_id: int, row: Row, board: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """Yield the values of a result; those that are ranked say on which board."""
    place = {**board, "split": row.split or 0, "seeds": row.seeds}
    ranked = place if row.seed is None else dict.fromkeys(place)
    for name, value in row.values.items():
        numbers = {"value": value.value, "spread": value.spread, "lower": value.lower, "upper": value.upper}
        yield {"result_id": result_id, "metric": name, "merit": METRICS[name].merit(value.value), **numbers, **ranked}


def _metrics_of(stream: str, rows: Iterable[Row]) -> dict[str, float]:
    """Return the numbers of a parent run, named alike for every model: ``two-stream.top1.split_1``, ``.mean``."""
    return {
        f"{stream}.{name}.{'mean' if row.split is None else 'split_' + str(row.split)}": value.value
        for row in rows
        if row.seed is None
        for name, value in row.values.items()
    }
