"""What experiments and their owners used of the machines: hours of GPUs held, of processors, and of attempts.

An attempt counts for every experiment that needs its stage and was there before the attempt ended: what had been made
earlier costs nobody anything. It counts once for each owner and once in the total, however many experiments share it,
and whatever became of it: a failed attempt held its devices too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from services.queue import experiments

DAYS = 30
"""Of which usage is told, unless another time is asked for."""
QUERY = """
WITH held AS (  -- attempts of that time, the seconds of each that lie in it, and those of the whole attempt
    SELECT stage_key, number, state, gpus, cpu_seconds, coalesce(finished_at, :until) AS ended_at,
        extract(epoch FROM least(coalesce(finished_at, :until), :until) - greatest(started_at, :since)) AS seconds,
        greatest(extract(epoch FROM coalesce(finished_at, :until) - started_at), 0.001) AS whole
    FROM attempt
    WHERE started_at < :until AND (finished_at > :since OR finished_at IS NULL)
), needed AS (
    SELECT held.*, experiment.id, experiment.name, experiment.owner, experiment.dataset
    FROM held JOIN experiment_stage USING (stage_key) JOIN experiment ON experiment.id = experiment_id
    WHERE experiment.created_at < ended_at
), sharing AS (
    SELECT stage_key, number, count(*) AS experiments, count(DISTINCT owner) AS owners
    FROM needed GROUP BY stage_key, number
), once AS (
    SELECT DISTINCT {group} stage_key, number, state, gpus, cpu_seconds, seconds, whole, {sharers} > 1 AS shared
    FROM needed JOIN sharing USING (stage_key, number)
    WHERE (CAST(:owner AS text) IS NULL OR owner = :owner) AND (CAST(:dataset AS text) IS NULL OR dataset = :dataset)
        AND (CAST(:experiment AS text) IS NULL OR id = :experiment)
)
SELECT {group} count(*) AS attempts, count(*) FILTER (WHERE cpu_seconds IS NULL) AS unmeasured,
    CAST(coalesce(sum(seconds), 0) / 3600 AS float) AS hours,
    CAST(coalesce(sum(seconds) FILTER (WHERE shared), 0) / 3600 AS float) AS shared_hours,
    CAST(coalesce(sum(gpus * seconds), 0) / 3600 AS float) AS gpu_hours,
    CAST(coalesce(sum(gpus * seconds) FILTER (WHERE shared), 0) / 3600 AS float) AS shared_gpu_hours,
    CAST(coalesce(sum(gpus * seconds) FILTER (WHERE state = 'failed'), 0) / 3600 AS float) AS failed_gpu_hours,
    CAST(coalesce(sum(cpu_seconds * seconds / whole), 0) / 3600 AS float) AS cpu_hours
FROM once {rest}
"""
TOTAL = text(QUERY.format(group="", sharers="experiments", rest=""))
BY_OWNER = text(
    QUERY.format(group="owner,", sharers="owners", rest="GROUP BY owner ORDER BY gpu_hours DESC, hours DESC, owner")
)
BY_EXPERIMENT = text(
    QUERY.format(
        group="id, name, owner, dataset,",
        sharers="experiments",
        rest="GROUP BY id, name, owner, dataset ORDER BY gpu_hours DESC, hours DESC, id LIMIT :most",
    )
)
"""Of fixed parts; what is asked for goes into parameters."""


@dataclass(frozen=True)
class Hours:
    """Rows of hours: in all, by owner, and of the experiments that used most.

    Each has ``attempts``, those of them ``unmeasured`` whose processor time nobody knows, ``hours`` of attempts,
    ``gpu_hours`` by GPUs held, ``cpu_hours`` that processors computed, and of these what is ``shared`` with other
    experiments, or with other owners where the row is an owner's, and what failed attempts held.
    """

    since: datetime
    until: datetime
    total: Any
    owners: Sequence[Any]
    experiments: Sequence[Any]


def hours(
    session: Session,
    *,
    owner: str | None = None,
    experiment: str | None = None,
    dataset: str | None = None,
    days: int | None = None,
    most: int = 50,
) -> Hours:
    """Add up hours.

    Args:
        session: a transaction of the caller.
        owner: only of this user's experiments.
        experiment: only of the one with this id.
        dataset: only of those on this dataset.
        days: up to now; ``DAYS`` if not given, and of one experiment all.
        most: experiments that are told one by one.

    Raises:
        NotFound: no experiment has that id.
    """
    until: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    since = until - timedelta(days=days or DAYS)
    if experiment is not None:
        created_at = experiments.get(session, experiment).created_at
        since = created_at if days is None else max(since, created_at)
    wanted = {"since": since, "until": until, "owner": owner, "dataset": dataset, "experiment": experiment}

    def rows(query: TextClause, **more: int) -> Sequence[Any]:
        return session.execute(query, wanted | more).all()

    return Hours(since, until, rows(TOTAL)[0], rows(BY_OWNER), rows(BY_EXPERIMENT, most=most))
