"""Curves of several experiments laid over each other: for each stream the mean over the splits and seeds of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from sqlalchemy import Float, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from services.db.tables import ExperimentStageRow, OutboxRow, StageRow
from services.journal.curves import DRAWN, METRICS, Curve

KINDS = ("train", "finetune")
"""Stages that train: of an experiment the networks, or its ConvNets where it trains no other."""

Points = Mapping[int, float]


def laid_over(
    session: Session, named: Mapping[str, str], *, stream: str = "two-stream", split: int | None = None
) -> dict[str, list[Curve]]:
    """Return curves by stream, such as ``rgb`` or ``rgb+flow``, each the mean over an experiment's splits and seeds.

    A mean ends with the epoch that the shortest of its curves ends with. ``stage`` of a curve is the experiment's name
    as it is given.

    Args:
        session: a transaction of the caller.
        named: names by id of experiment.
        stream: of which the stages are; two-stream takes all of them.
        split: of which the stages are; None for all.
    """
    of = _read(session, list(named), split)
    found: dict[str, list[Curve]] = {}
    for experiment_id, name in named.items():
        kinds = of.get(experiment_id, {})
        mine = next((kinds[kind] for kind in KINDS if kind in kinds), {})
        for (streams, metric), runs in mine.items():
            if stream == "two-stream" or stream in streams.split("+"):
                found.setdefault(streams, []).extend(_mean(name, experiment_id, metric, runs))
    return {
        streams: sorted(curves, key=lambda curve: METRICS.index(curve.metric))
        for streams, curves in sorted(found.items(), reverse=True)
    }


def _read(
    session: Session, ids: Sequence[str], split: int | None
) -> dict[str, dict[str, dict[tuple[str, str], list[Points]]]]:
    """Return the points of each stage's curves by experiment, kind, and streams with metric."""
    value = OutboxRow.data["value"].astext.cast(Float)
    query = (
        select(
            ExperimentStageRow.experiment_id,
            StageRow.kind,
            StageRow.params["stream"].astext,
            StageRow.params["streams"],
            OutboxRow.name,
            func.array_agg(aggregate_order_by(OutboxRow.step, OutboxRow.step)),
            func.array_agg(aggregate_order_by(value, OutboxRow.step)),
        )
        .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        .join(OutboxRow, OutboxRow.stage_key == StageRow.key)
        .where(ExperimentStageRow.experiment_id.in_(ids), StageRow.kind.in_(KINDS), *DRAWN)
        .group_by(ExperimentStageRow.experiment_id, StageRow.key, OutboxRow.name)
        .order_by(StageRow.key)
    )
    if split is not None:
        query = query.where(StageRow.params["split"].astext == str(split))
    found: dict[str, dict[str, dict[tuple[str, str], list[Points]]]] = {}
    for experiment_id, kind, one, several, metric, epochs, values in session.execute(query):
        streams = one or "+".join(several or ())
        points = dict(zip(epochs, values, strict=True))
        of = found.setdefault(experiment_id, {}).setdefault(kind, {})
        of.setdefault((streams, metric), []).append(points)
    return found


def _mean(name: str, experiment_id: str, metric: str, runs: Sequence[Points]) -> list[Curve]:
    """Return the mean of some curves over the epochs that all of them have; nothing where there are none."""
    values: dict[int, list[float]] = defaultdict(list)
    for points in runs:
        for epoch, value in points.items():
            values[epoch].append(value)
    epochs = sorted(epoch for epoch, found in values.items() if len(found) == len(runs))
    if not epochs:
        return []
    return [Curve(name, experiment_id, metric, tuple(epochs), tuple(fmean(values[epoch]) for epoch in epochs))]
