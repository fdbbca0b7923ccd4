"""What owners may run at once: written by the API from its settings, asked by each claim.

Two claims at once do not see each other. So whoever claims for an owner with a limit counts again under a lock of the
owner, which the transaction holds to its end, and starts anew if that was one too many.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.db.tables import QuotaRow
from services.errors import Contended
from services.settings import EVERYBODY, Quota
from services.words import counted

LOADS = text("""
SELECT load.owner, running, load.gpus, coalesce(own.stages, rest.stages) AS most_stages,
    coalesce(own.gpus, rest.gpus) AS most_gpus
FROM (
    SELECT owner, count(*) AS running, coalesce(sum(stage.gpus) FILTER (WHERE queue = 'gpu'), 0) AS gpus
    FROM stage WHERE state = 'running' GROUP BY owner
    UNION ALL
    SELECT owner, 0, 0 FROM unnest(CAST(:owners AS text[])) AS asked (owner)
    WHERE NOT EXISTS (SELECT FROM stage WHERE state = 'running' AND stage.owner = asked.owner)
) AS load LEFT JOIN quota AS own ON own.owner = load.owner LEFT JOIN quota AS rest ON rest.owner = :everybody
WHERE load.owner = ANY(CAST(:owners AS text[]))
""")
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:owner, 2))")


@dataclass(frozen=True)
class Load:
    """What an owner runs at one moment, and may run at once; None where there is no limit."""

    owner: str
    running: int
    gpus: int
    most_stages: int | None
    most_gpus: int | None

    @property
    def is_over(self) -> bool:
        """Whether it is more than is allowed."""
        return self.running > _or_more(self.most_stages, self.running) or self.gpus > _or_more(
            self.most_gpus, self.gpus
        )

    def why_not(self, queue: str, gpus: int) -> str | None:
        """Say why a stage of a queue that asks for so many GPUs is not to start; None where it may."""
        if self.running >= _or_more(self.most_stages, self.running + 1):
            return f"quota: {self.owner!r} runs {self.running} of {counted(self.most_stages or 0, 'stage')} at once"
        if queue == "gpu" and self.gpus + gpus > _or_more(self.most_gpus, self.gpus + gpus):
            held = f"quota: {self.owner!r} holds {self.gpus} of {counted(self.most_gpus or 0, 'GPU')} at once"
            return held if gpus == 1 else f"{held}; this needs {gpus}"
        return None


def _or_more(limit: int | None, value: int) -> int:
    return value if limit is None else limit


def replace(session: Session, quotas: Mapping[str, Quota]) -> None:
    """Have these quotas, and no others."""
    session.execute(delete(QuotaRow).where(QuotaRow.owner.not_in(list(quotas))))
    for owner in sorted(quotas):
        values: dict[str, Any] = quotas[owner].model_dump()
        query = insert(QuotaRow).values(owner=owner, **values)
        session.execute(query.on_conflict_do_update(index_elements=["owner"], set_=values))


def given(session: Session) -> dict[str, Quota]:
    """Return the quotas by owner."""
    rows = session.scalars(select(QuotaRow))
    return {row.owner: Quota(stages=row.stages, gpus=row.gpus, share=row.share) for row in rows}


def loads(session: Session, owners: Collection[str]) -> dict[str, Load]:
    """Return what some owners run and may run."""
    if not owners:
        return {}
    asked = {"owners": sorted(owners), "everybody": EVERYBODY}
    found = [Load(*row) for row in session.execute(LOADS, asked)]
    return {load.owner: load for load in found}


def require_room(session: Session, owner: str) -> None:
    """See that an owner with a limit, for whom this transaction has just claimed, keeps to it.

    Raises:
        Contended: somebody else has claimed for the owner meanwhile; to be tried again, which finds another stage.
    """
    session.execute(LOCK, {"owner": owner})
    if loads(session, [owner])[owner].is_over:
        raise Contended(f"{owner!r} has come to their quota meanwhile")
