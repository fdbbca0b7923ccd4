"""What finished stages of a plan say of their classes and clips, for the linter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import StageRow
from services.planning.linter import Facts
from services.planning.planned import PlannedStage

SAYING = ("index", "score")
"""Kinds that may say it: of what users brought, the `score` stages."""


def with_stages(session: Session, planned: Sequence[PlannedStage], facts: Facts) -> Facts:
    """Return facts with what the finished stages of a plan say; those of before say nothing."""
    keys = [stage.key for stage in planned if stage.spec.kind in SAYING]
    query = select(StageRow.key, StageRow.summary).where(StageRow.key.in_(keys), StageRow.summary.is_not(None))
    summaries = {row.key: row.summary for row in session.execute(query)}
    classes = {key: tuple(said["names"]) for key, said in summaries.items() if "names" in said}
    clips = {key: said["ids"] for key, said in summaries.items() if "ids" in said}
    return replace(facts, classes=classes, clips=clips)
