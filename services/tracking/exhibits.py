"""What the run of a finished experiment gets in MLflow beside its numbers: its results as a file, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from services import figures
from services.board import results
from services.db.tables import ExperimentRow
from services.errors import InvalidRequest, NotFound
from services.figures.canvas import Drawing
from services.journal.outbox import RESULTS_FILE


def prepared(session: Session, experiment_id: str, name: str) -> bytes | Drawing | None:
    """Return what an exhibit shows, ready to be written; None where the experiment does not have it.

    Args:
        session: a transaction of the caller.
        experiment_id: whose.
        name: ``results.json``, or that of a figure with ``.png``: of all splits and seeds, and of both streams.
    """
    if name == RESULTS_FILE:
        experiment = session.get(ExperimentRow, experiment_id)
        listed = [] if experiment is None else [_result(each) for each in results.listing(session, experiment_id)]
        return json.dumps(listed, indent=1).encode()
    try:
        found = figures.prepared(session, experiment_id, Path(name).stem, figures.Choice())
    except (InvalidRequest, NotFound):
        return None
    return None if isinstance(found, figures.Pending) else found  # exhibits are drawn from Postgres alone


def write(made: bytes | Drawing, path: Path) -> Path:
    """Write an exhibit into a file."""
    path.write_bytes(made if isinstance(made, bytes) else figures.render(made, "png"))
    return path


def _result(found: results.Result) -> dict[str, Any]:
    row = found.row
    return {
        "stream": row.stream,
        "split": row.split,
        "seed": row.seed,
        "seeds": row.seeds,
        "clips": row.clips,
        "excluded": row.excluded,
        "missing_splits": row.missing_splits,
        "dataset": row.dataset,
        "revision": row.revision,
        "protocol": found.protocol,
        "selected_on_test": found.selected_on_test,
        "flags": [flag["code"] for flag in found.flags],
        "metrics": {
            name: {"value": each.value, "spread": each.spread, "interval": [each.lower, each.upper]}
            for name, each in found.values.items()
        },
        "categories": row.categories or {},
    }
