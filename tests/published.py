"""Results that tests write as the service does, without any stage that measured them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

from services.board import results
from services.board.means import Row, Value
from services.db.engine import Session
from services.db.tables import ExperimentRow, ExperimentStreamRow, ProtocolRow
from services.revisions import Revision


def experiment(session: Session, dataset: str = "motion_shapes", name: str = "x") -> ExperimentRow:
    """Write a finished experiment without stages."""
    made = ExperimentRow(id=f"exp_{secrets.token_hex(6)}", name=name, owner="o", dataset=dataset, spec={})
    made.body_digest, made.state = "", "succeeded"
    session.add(made)
    session.flush()
    return made


def publish(
    session: Session,
    made: ExperimentRow,
    rows: Iterable[Row],
    *,
    protocol: str = "p",
    model: str = "m",
    revision: int = 1,
    excluded: int = 0,
    source: str = "experiment",
    uploaded: bool = False,
) -> None:
    """Write rows of an experiment's rgb stream; ``protocol`` is a line that nothing else says of it."""
    digest = hashlib.sha256(protocol.encode()).hexdigest()
    session.merge(ProtocolRow(digest=digest, fields={}, line=protocol))
    session.flush()
    measurement = ExperimentStreamRow(experiment_id=made.id, stream="rgb", protocol=digest, model=model)
    measurement.source, measurement.uploaded = source, uploaded
    measurement = session.merge(measurement)
    session.flush()
    results.write(session, made, measurement, Revision(revision, (1, 2, 3), excluded, ()), list(rows))


def mean(value: float | None, metrics: Iterable[str] = ("top1",)) -> Row:
    """Return the row of a mean over splits, which without a value lacks split 3."""
    if value is None:
        return Row(split=None, missing_splits=[3])
    return Row(split=None, values=dict.fromkeys(metrics, Value(value)))
