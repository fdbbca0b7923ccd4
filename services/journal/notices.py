"""What users are to be told by webhook and command, written in the transaction of the fact and sent by `notify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from services.db.storable import storable
from services.db.tables import ExperimentRow, NoticeRow
from services.db.told import CHANNELS

MOST_LETTERS = 2000
"""Of a message."""


def add(
    session: Session,
    kind: Literal["end", "failure", "best"],
    row: ExperimentRow,
    results: Mapping[str, float],
    boards: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Have users told of an experiment.

    Args:
        session: a transaction of the caller.
        kind: that it ended, failed, or leads boards.
        row: the experiment, as it is now.
        results: the primary metric by ``stream.split``.
        boards: that it leads.
    """
    said = {
        "experiment": {
            "id": row.id,
            "name": row.name,
            "owner": row.owner,
            "dataset": row.dataset,
            "state": row.state,
            "cause": row.cause,
            "message": None if row.message is None else row.message[:MOST_LETTERS],
            "tags": list(row.tags),
        },
        "results": dict(results),
        "boards": [dict(board) for board in boards],
    }
    values = {"kind": kind, "experiment_id": row.id, "data": storable(said)}
    session.execute(insert(NoticeRow), [{"channel": channel, **values} for channel in CHANNELS])
