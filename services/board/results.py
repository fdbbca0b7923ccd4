"""Writes the rows of the leaderboard from finished `fuse` stages, and the means over seeds and splits.

What a mean rests on is looked up, not assumed: which splits and seeds there are, and which clips several test sets
have in common.
"""

from __future__ import annotations

import base64
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import revisions
from services.board.protocol import protocol
from services.db.tables import ExperimentRow, ExperimentStageRow, ResultRow, StageRow
from services.journal import outbox
from services.revisions import Revision
from services.specs import ExperimentSpec
from services.statistics import SplitRate, distinct_clips, effective_clips, wilson

METRICS = ("top1", "top5", "mean_class")


@dataclass(frozen=True)
class Measured:
    """The numbers of one stream on one split with one seed; rates are between 0 and 1.

    Attributes:
        values: rate by metric.
        categories: top-1 by category, where the dataset's classes have any.
        clips: how many there were.
        hits: for each clip, in the order of their ids, whether it was right; None where the stage did not say.
    """

    stream: str
    split: int
    seed: int
    values: dict[str, float]
    categories: dict[str, float]
    clips: int
    hits: tuple[bool, ...] | None
    stage_key: str


def collect(session: Session, experiment: ExperimentRow) -> None:
    """Write the results of every finished `fuse` stage of an experiment; written again they stay the same."""
    spec = ExperimentSpec.model_validate(experiment.spec)
    query = (
        select(StageRow)
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .where(
            ExperimentStageRow.experiment_id == experiment.id,
            StageRow.kind.in_(("index", "fuse")),
            StageRow.state.in_(("succeeded", "evicted")),  # its numbers stay, whatever becomes of its files
        )
    )
    stages = list(session.scalars(query))
    measured = [entry for stage in stages if stage.kind == "fuse" for entry in _read(stage)]
    index = next((stage for stage in stages if stage.kind == "index"), None)
    revision = revisions.measured_on(session, experiment.dataset, index)
    for stream in sorted({entry.stream for entry in measured}):
        rows = _rows([entry for entry in measured if entry.stream == stream], revision)
        _write(session, experiment, spec, revision, stream, rows)
        now = int(time.time() * 1000)
        outbox.add_results(session, experiment.id, _metrics_of(stream, rows), now)


def listing(session: Session, experiment_id: str) -> list[ResultRow]:
    """Return an experiment's results by stream; a mean comes after what it is the mean of."""
    order = (ResultRow.stream, ResultRow.split.nulls_last(), ResultRow.seed.nulls_last())
    return list(session.scalars(select(ResultRow).where(ResultRow.experiment_id == experiment_id).order_by(*order)))


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
            hits=_bits(entry["hits"], metrics["clips"]) if "hits" in entry else None,
            stage_key=stage.key,
        )


def _bits(text: str, count: int) -> tuple[bool, ...]:
    """Return the first bits of packed bytes in base64, the highest bit of a byte first."""
    packed = base64.b64decode(text)
    return tuple(bool(packed[place >> 3] >> (7 - place & 7) & 1) for place in range(count))


def _rows(entries: Sequence[Measured], revision: Revision) -> list[dict[str, Any]]:
    """Return the rows of one stream: those of seeds, those of splits, and the mean."""
    by_split = {split: [e for e in entries if e.split == split] for split in sorted({e.split for e in entries})}
    return [
        *map(_seed_row, entries),
        *map(_split_row, by_split.values()),
        _mean_row(by_split, revision),
    ]


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
    values, clips = _means_of(entries), _clips(entries)
    lower, upper = wilson(values["top1"], clips)
    return {
        **values,
        "split": entries[0].split,
        "clips": clips,
        "lower": lower,
        "upper": upper,
        "categories": _means([entry.categories for entry in entries]),
        "seeds": len(entries),
        "spread": _deviation([entry.values["top1"] for entry in entries]),
    }


def _mean_row(by_split: Mapping[int, Sequence[Measured]], revision: Revision) -> dict[str, Any]:
    """Mean over splits, empty until each split of the dataset is there with each seed.

    The deviation is that of the seeds' own means over splits. Without knowledge of the clips that test sets have in
    common there is neither a number of clips nor an interval.
    """
    seeds = {entry.seed for entries in by_split.values() for entry in entries}
    complete = [split for split, entries in by_split.items() if {entry.seed for entry in entries} == seeds]
    splits = revision.splits or tuple(by_split)
    missing = [split for split in splits if split not in complete]
    if missing:
        return {"split": None, "missing_splits": missing, "seeds": len(seeds)}
    parts = {split: by_split[split] for split in splits}
    means = [_means_of(entries) for entries in parts.values()]
    of_seeds = {seed: [e.values["top1"] for part in parts.values() for e in part if e.seed == seed] for seed in seeds}
    values = {name: statistics.fmean(mean[name] for mean in means) for name in METRICS}
    return {
        **values,
        **_pooled(values["top1"], parts, revision.shared),
        "split": None,
        "seeds": len(seeds),
        "spread": _deviation([statistics.fmean(rates) for rates in of_seeds.values()]),
        "categories": _means([_means([entry.categories for entry in entries]) for entries in parts.values()]),
    }


def _pooled(
    rate: float, parts: Mapping[int, Sequence[Measured]], shared: Sequence[Mapping[int, int]] | None
) -> dict[str, Any]:
    """Return how many distinct clips the splits have, and the interval of their mean, that of one run."""
    if shared is None and len(parts) > 1:
        return {}
    sets = {
        split: SplitRate(_means_of(entries)["top1"], _clips(entries), _mean_hits(entries))
        for split, entries in parts.items()
    }
    known = [places for places in _among(shared or (), sets) if len(places) > 1]
    if any(place >= sets[split].clips for places in known for split, place in places.items()):
        return {}  # the lists that were read are not those that were measured on
    lower, upper = wilson(rate, effective_clips(sets, known))
    return {"clips": distinct_clips(sets, known), "lower": lower, "upper": upper}


def _among(shared: Sequence[Mapping[int, int]], sets: Mapping[int, SplitRate]) -> Iterable[dict[int, int]]:
    """Yield the places of shared clips in the splits that count: a dataset may have more lists than it uses."""
    for places in shared:
        yield {split: place for split, place in places.items() if split in sets}


def _mean_hits(entries: Sequence[Measured]) -> list[float] | None:
    hits = [entry.hits for entry in entries if entry.hits is not None]
    if len(hits) < len(entries) or len({len(bits) for bits in hits}) != 1:
        return None
    return [statistics.fmean(bits) for bits in zip(*hits, strict=True)]


def _means_of(entries: Sequence[Measured]) -> dict[str, float]:
    return {name: statistics.fmean(entry.values[name] for entry in entries) for name in METRICS}


def _clips(entries: Sequence[Measured]) -> int:
    return min(entry.clips for entry in entries)


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1), which a single value does not have."""
    return statistics.stdev(values) if len(values) > 1 else None


def _means(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each name that all have."""
    names = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: statistics.fmean(part[name] for part in parts) for name in names}


def _write(
    session: Session,
    experiment: ExperimentRow,
    spec: ExperimentSpec,
    revision: Revision,
    stream: str,
    rows: Sequence[dict[str, Any]],
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
        "revision": revision.number, "excluded": revision.excluded,
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
