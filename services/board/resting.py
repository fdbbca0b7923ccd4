"""What rests on experiments that were withdrawn: ensembles of which one is a member, networks that start from its
weights, and what rests on these. A flag says so for as long as the withdrawal stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.board import results
from services.db.tables import ExperimentRow
from services.errors import Finding

FLAG = "rests_on_withdrawn"
RESTING = text("""
WITH RECURSIVE resting (id) AS (
    SELECT experiment_id FROM experiment_need WHERE needed_id = :id
    UNION SELECT experiment_id FROM experiment_need JOIN resting ON needed_id = resting.id
)
SELECT id FROM resting
""")


def named(part: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield the experiments that the JSON of a spec names, in fields `experiment` at whatever depth, by field."""
    if isinstance(part, dict):
        if isinstance(part.get("experiment"), str):
            yield f"{field}experiment", part["experiment"]
        for name, value in part.items():
            yield from named(value, f"{field}{name}.")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            yield from named(value, f"{field}{number}.")


def doubts(session: Session, spec: Any) -> list[Finding]:
    """Return what was withdrawn of all that the JSON of a spec rests on."""
    found = []
    for field, id_ in named(spec):
        row = session.get(ExperimentRow, id_)
        if row is not None:
            found += [_finding(field, row)] if row.withdrawn_at is not None else []
            found += [Finding(FLAG, "flagged", field, flag["sentence"]) for flag in row.flags if flag["code"] == FLAG]
    return list(dict.fromkeys(found))


def flag(session: Session, row: ExperimentRow) -> None:
    """Have what rests on an experiment say whether it is withdrawn, and why."""
    ids = list(session.scalars(RESTING, {"id": row.id}))
    query = select(ExperimentRow).where(ExperimentRow.id.in_(ids)).order_by(ExperimentRow.id)
    locked = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    for each in session.scalars(locked):
        kept = [own for own in each.flags if own["code"] != FLAG or not own["sentence"].startswith(_words(row))]
        field = next((field for field, id_ in named(each.spec) if id_ == row.id), "experiment")
        after = kept if row.withdrawn_reason is None else [*kept, asdict(_finding(field, row))]
        if after != each.flags:
            results.set_flags(session, each, after)


def _finding(field: str, row: ExperimentRow) -> Finding:
    return Finding(FLAG, "flagged", field, f"{_words(row)}{row.withdrawn_reason}")


def _words(row: ExperimentRow) -> str:
    return f"{row.id} was withdrawn: "
