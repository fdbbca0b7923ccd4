"""What systems said of each test clip: kept when a `fuse` stage ends, read back with the right answers beside it.

Predictions and right answers go by the SHA-256 of what they hold. A stage whose output was dropped and is made again
may say something else; the results of before go on naming what was said then. Results that name one truth were measured
on the same clips, in the same order, with the same classes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.board.hits import Ranked
from services.db.tables import PredictionRow, ResultRow, TruthRow


def keep(session: Session, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Store what a `fuse` stage says of each clip, and return its summary with digests in place of it.

    Args:
        session: a transaction of the caller.
        summary: with ``truth`` (``classes``, ``labels``, ``clips``, ``ids``) and the ``predictions`` and
            ``confidences`` of each of ``results``, in base64 as `worker/stages/fuse.py` packs them. Versions before
            said neither ids nor confidences. A summary without truth is returned as it is.
    """
    if "truth" not in summary:
        return dict(summary)
    truth = _truth(summary["truth"])
    session.execute(insert(TruthRow).values(truth).on_conflict_do_nothing())
    if truth["ids"] is not None:
        unnamed = update(TruthRow).where(TruthRow.digest == truth["digest"], TruthRow.ids.is_(None))
        session.execute(unnamed.values(ids=truth["ids"]))
    rows: dict[str, dict[str, Any]] = {}
    results = []
    for entry in summary["results"]:
        answers = base64.b64decode(entry["predictions"])
        sure = base64.b64decode(entry["confidences"]) if "confidences" in entry else None
        digest = hashlib.sha256(truth["digest"].encode() + answers + (sure or b"")).hexdigest()
        rows[digest] = {"digest": digest, "truth": truth["digest"], "answers": answers, "confidences": sure}
        results.append(
            {name: value for name, value in entry.items() if name != "confidences"} | {"predictions": digest}
        )
    ordered = [rows[digest] for digest in sorted(rows)]  # two transactions that keep the same never wait crosswise
    session.execute(insert(PredictionRow).values(ordered).on_conflict_do_nothing())
    return {**summary, "truth": truth["digest"], "results": results}


def _truth(said: Mapping[str, Any]) -> dict[str, Any]:
    known_by = {name: value for name, value in said.items() if name != "ids"}  # `clips` stands for them
    content = json.dumps(known_by, sort_keys=True, separators=(",", ":")).encode()
    labels = base64.b64decode(said["labels"])
    return {
        "digest": hashlib.sha256(content).hexdigest(),
        "classes": list(said["classes"]),
        "labels": labels,
        "clips": said["clips"],
        "ids": "\n".join(said["ids"]) if "ids" in said else None,
    }


def classes_of(session: Session, experiment_ids: Collection[str]) -> list[str]:
    """Return the names of the classes that some experiments on one dataset told apart; none where that was not kept."""
    query = (
        select(TruthRow.classes)
        .join(PredictionRow, PredictionRow.truth == TruthRow.digest)
        .join(ResultRow, ResultRow.prediction == PredictionRow.digest)
        .where(ResultRow.experiment_id.in_(experiment_ids))
    )
    return session.scalar(query.limit(1)) or []


def ranked(session: Session, digests: Collection[str]) -> dict[str, Ranked]:
    """Return how many classes stand before the right one of each clip, for predictions by digest."""
    query = select(PredictionRow.digest, PredictionRow.truth, PredictionRow.answers)
    found = session.execute(query.where(PredictionRow.digest.in_(digests)))
    return {digest: Ranked(truth, _numbers(packed)[1::2]) for digest, truth, packed in found}


def _numbers(packed: bytes) -> tuple[int, ...]:
    """Return numbers of 16 bits, the lower byte first."""
    return struct.unpack(f"<{len(packed) // 2}H", packed)
