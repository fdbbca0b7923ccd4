"""Writes the rows of the leaderboard from finished `fuse` stages, and the means over seeds and splits."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import outbox
from services.db.tables import DatasetRow, ExperimentRow, ExperimentStageRow, ResultRow, StageRow
from services.protocol import protocol
from services.specs import ExperimentSpec

METRICS = ("top1", "top5", "mean_class")
Z_95 = 1.959963984540054
"""Quantile of the normal distribution for a two-sided 95 % interval."""


@dataclass(frozen=True)
class Measured:
    """The numbers of one stream on one split with one seed; rates are between 0 and 1.

    Attributes:
        values: rate by metric.
        categories: top-1 by category, where the dataset's classes have any.
        clips: how many there were.
    """

    stream: str
    split: int
    seed: int
    values: dict[str, float]
    categories: dict[str, float]
    clips: int
    stage_key: str


def collect(session: Session, experiment: ExperimentRow) -> None:
    """Write the results of every finished `fuse` stage of an experiment; written again they stay the same."""
    spec = ExperimentSpec.model_validate(experiment.spec)
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(
            ExperimentStageRow.experiment_id == experiment.id,
            StageRow.kind == "fuse",
            StageRow.state.in_(("succeeded", "evicted")),  # its numbers stay, whatever becomes of its files
        )
    )
    measured = [entry for stage in session.scalars(query) for entry in _read(stage)]
    dataset = session.get(DatasetRow, experiment.dataset)
    splits = dataset.splits if dataset is not None else sorted(spec.splits)
    for stream in sorted({entry.stream for entry in measured}):
        entries = [entry for entry in measured if entry.stream == stream]
        rows = [_seed_row(entry) for entry in entries]
        by_split = {split: _split_row([e for e in entries if e.split == split]) for split in {e.split for e in entries}}
        rows += [*by_split.values(), _mean_row(by_split, splits)]
        _write(session, experiment, spec, stream, rows)
        now = int(time.time() * 1000)
        outbox.add_results(session, experiment.id, _metrics_of(stream, rows), now)


def listing(session: Session, experiment_id: str) -> list[ResultRow]:
    """Return an experiment's results by stream; a mean comes after what it is the mean of."""
    order = (ResultRow.stream, ResultRow.split.nulls_last(), ResultRow.seed.nulls_last())
    return list(session.scalars(select(ResultRow).where(ResultRow.experiment_id == experiment_id).order_by(*order)))


def wilson(rate: float, clips: int) -> tuple[float, float]:
    """Return Wilson's 95 % confidence interval of a rate.

    Args:
        rate: share of clips that are right, 0 to 1.
        clips: how many clips there were, at least 1.

    Source: E. B. Wilson, JASA 22 (1927).
    """
    spread = Z_95 * Z_95 / clips
    centre = (rate + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(rate * (1 - rate) / clips + spread / (4 * clips))
    return max(0.0, centre - half), min(1.0, centre + half)


def _read(stage: StageRow) -> Iterable[Measured]:
    for entry in (stage.summary or {}).get("results", []):
        metrics = entry["metrics"]
        yield Measured(
            stream=entry["stream"],
            split=entry["split"],
            seed=entry["seed"],
            values={name: metrics[name] for name in METRICS},
            categories=entry.get("per_category", {}),
            clips=metrics["clips"],
            stage_key=stage.key,
        )


def _seed_row(entry: Measured) -> dict[str, Any]:
    lower, upper = wilson(entry.values["top1"], entry.clips)
    return {
        **entry.values,
        "split": entry.split,
        "seed": entry.seed,
        "clips": entry.clips,
        "lower": lower,
        "upper": upper,
        "categories": entry.categories,
        "stage_key": entry.stage_key,
    }


def _split_row(entries: Sequence[Measured]) -> dict[str, Any]:
    """Mean over the seeds of one split; the interval is that of one run, since seeds share their test clips."""
    values = {name: statistics.fmean(entry.values[name] for entry in entries) for name in METRICS}
    clips = entries[0].clips
    lower, upper = wilson(values["top1"], clips)
    rates = [entry.values["top1"] for entry in entries]
    return {
        **values,
        "split": entries[0].split,
        "clips": clips,
        "lower": lower,
        "upper": upper,
        "categories": _means([entry.categories for entry in entries]),
        "seeds": len(entries),
        "spread": statistics.stdev(rates) if len(rates) > 1 else None,
    }


def _mean_row(by_split: dict[int, dict[str, Any]], splits: Sequence[int]) -> dict[str, Any]:
    """Mean over splits, empty until every split of the dataset is there; test sets of splits are disjoint."""
    missing = [split for split in splits if split not in by_split]
    seeds = min(row["seeds"] for row in by_split.values())
    if missing:
        return {"split": None, "missing_splits": missing, "seeds": seeds}
    rows = [by_split[split] for split in splits]
    values = {name: statistics.fmean(row[name] for row in rows) for name in METRICS}
    clips = sum(row["clips"] for row in rows)
    lower, upper = wilson(values["top1"], clips)
    spread = statistics.stdev(row["top1"] for row in rows) if len(rows) > 1 else None
    return {
        **values, "split": None, "clips": clips, "lower": lower, "upper": upper, "seeds": seeds, "spread": spread,
        "categories": _means([row["categories"] for row in rows]),
    }  # fmt: skip


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each name that all have."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: statistics.fmean(part[name] for part in parts) for name in names}


def _write(
    session: Session, experiment: ExperimentRow, spec: ExperimentSpec, stream: str, rows: Sequence[dict[str, Any]]
) -> None:
    shared = {
        "experiment_id": experiment.id,
        "dataset": experiment.dataset,
        "stream": stream,
        "protocol": protocol(spec, stream),
        "model": _model_of(spec, stream),
        "name": experiment.name,
    }
    blank: dict[str, Any] = {
        "seed": None, "top1": None, "top5": None, "mean_class": None, "clips": None, "spread": None, "lower": None,
        "upper": None, "seeds": 1, "missing_splits": [], "categories": None, "stage_key": None,
    }  # fmt: skip
    query = insert(ResultRow).values([shared | blank | row for row in rows])
    columns = {name: query.excluded[name] for name in blank if name != "seed"}
    session.execute(query.on_conflict_do_update(constraint="uq_result_experiment_id_stream_split_seed", set_=columns))


def _model_of(spec: ExperimentSpec, stream: str) -> str:
    """Return the kind of network whose numbers these are; the system goes by that of its rgb stream."""
    own = spec.flow_stream.model if spec.flow_stream is not None and stream == "flow" else None
    return (own or spec.model).kind


def _metrics_of(stream: str, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of a parent run, named alike for every model: ``two-stream.top1.split_1``, ``.mean``."""
    ranked = [row for row in rows if row.get("seed") is None and row.get("top1") is not None]
    return {
        f"{stream}.{name}.{'mean' if row['split'] is None else 'split_' + str(row['split'])}": row[name]
        for row in ranked
        for name in METRICS
    }
