"""What earlier attempts took, by the kind and sizes of their stages: what one that is yet to run may take.

Sizes are all parameters but those on which time, memory and disk do not depend, and the dataset. Counted are attempts
that did a stage's whole work: not those that went on from what an earlier one had left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from statistics import median, quantiles
from typing import Any, NamedTuple

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Text

from services.queue.pace import Span

COSTLESS = frozenset(
    {"split", "seed", "shard", "digest", "weights", "optimizer", "milestones", "dropout", "average", "method"}
)
"""Parameters of stages, at any depth, on which what a stage takes does not depend."""
LATEST = 50
"""Attempts of each sizes that are looked at."""
MANY = 10
"""From so many attempts on, a tenth of them at each end is left out of a range."""
EARLIER = text("""
SELECT wanted.sizes, found.* FROM unnest(:sizes) AS wanted (sizes) CROSS JOIN LATERAL (
    SELECT CAST(extract(epoch FROM attempt.finished_at - attempt.started_at) AS float) AS seconds,
        attempt.gpus, memory_bytes, gpu_memory_bytes, disk_bytes
    FROM stage JOIN attempt ON attempt.stage_key = stage.key AND attempt.number = stage.attempt
    WHERE stage.sizes = wanted.sizes AND attempt.state = 'succeeded' AND coalesce((
        SELECT before.state FROM attempt AS before
        WHERE before.stage_key = stage.key AND before.number = stage.attempt - 1), 'succeeded') = 'succeeded'
    ORDER BY stage.finished_at DESC
    LIMIT :latest
) AS found
""").bindparams(bindparam("sizes", type_=ARRAY(Text)))

Earlier = Mapping[str, Sequence[Any]]
"""Attempts by the sizes of their stages, the latest first."""


class Estimate(NamedTuple):
    """What a stage may take, by ``attempts`` earlier ones of its kind and sizes; None where none has said so.

    Attributes:
        attempts: how many there are.
        seconds: their median.
        memory_bytes: the most of them.
        gpu_memory_bytes: likewise, of tensors on a GPU.
        disk_bytes: of the output, likewise.
    """

    attempts: int = 0
    seconds: float | None = None
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    disk_bytes: int | None = None


def sizes(dataset: str, kind: str, params: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all on which depends what a stage takes; ``params`` are as JSON has them."""
    return hashlib.sha256(json.dumps([dataset, kind, _sized(params)], sort_keys=True).encode()).hexdigest()


def earlier(session: Session, wanted: Collection[str]) -> Earlier:
    """Return the latest attempts at stages of some sizes."""
    found: dict[str, list[Any]] = {}
    if wanted:
        for row in session.execute(EARLIER, {"sizes": sorted(wanted), "latest": LATEST}):
            found.setdefault(row.sizes, []).append(row)
    return found


def estimate(rows: Sequence[Any]) -> Estimate:
    """Return what a stage may take by attempts at others of its sizes."""
    if not rows:
        return Estimate()
    most = {
        name: max((getattr(row, name) for row in rows if getattr(row, name) is not None), default=None)
        for name in ("memory_bytes", "gpu_memory_bytes", "disk_bytes")
    }
    return Estimate(len(rows), float(median(row.seconds for row in rows)), **most)


def span(rows: Sequence[Any], gpus: int) -> Span | None:
    """Return how long a stage may take on so many GPUs, 0 for a processor; by all attempts if none ran there."""
    seconds = [row.seconds for row in rows if row.gpus == gpus] or [row.seconds for row in rows]
    if not seconds:
        return None
    if len(seconds) < MANY:
        return Span(min(seconds), max(seconds))
    tenths = quantiles(seconds, n=10, method="inclusive")
    return Span(tenths[0], tenths[-1])


def _sized(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _sized(entry) for name, entry in value.items() if name not in COSTLESS}
    return value
