"""Score files that users bring: checked against a dataset's lists, stored under the hash of what they say.

One is kept as a finished `score` stage, so that what fuses scores finds it like any other. Equal scores are there once,
under the name and owner of who brought them first.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import registry
from services.datasets.annotations import digest_of_ids
from services.db.engine import Database
from services.db.tables import ScoreUploadRow, StageRow
from services.errors import NotFound
from services.scores.external import Bounds, Format, read_external
from services.scores.files import SCORES_FILE, ScoreFile, ScoreKind, packed
from services.scores.official import checked, official_clips
from services.specs import Stream
from services.stages import StageSpec, UploadParams
from services.stores.artifacts import ArtifactStore
from services.stores.names import OUTPUT

STREAMS: dict[str, tuple[Stream, ...]] = {"rgb": ("rgb",), "flow": ("flow",), "two-stream": ("rgb", "flow")}
"""What a file may be of; what is neither rgb nor flow alone counts as a system of both."""


@dataclass(frozen=True)
class Upload:
    """What a user says of a file.

    Attributes:
        name: for people.
        owner: who brings it.
        dataset: on whose test clips the scores are.
        split: of it.
        stream: one of `STREAMS`.
        kind: probabilities, or logits, which are scores of any scale.
        form: of the file.
    """

    name: str
    owner: str
    dataset: str
    split: int
    stream: str
    kind: ScoreKind
    form: Format


def add(database: Database, store: ArtifactStore, upload: Upload, path: Path) -> tuple[ScoreUploadRow, bool]:
    """Check a file, store it, and return its row and whether it is new.

    Raises:
        InvalidRequest: there is no such dataset or split, or the file is wrong.
        Conflict: the dataset's lists cannot be read.
        Unavailable: the store does not take it.
    """
    with database.transaction() as session:
        dataset = registry.chosen(session, upload.dataset)
    test = official_clips(dataset, upload.split)
    found = read_external(path, upload.form, Bounds(2 * len(test.clips), 2 * len(test.classes)))
    scores = checked(found, test, STREAMS[upload.stream], upload.kind)
    content = packed(scores)
    params = UploadParams(
        uploaded=hashlib.sha256(content).hexdigest(),
        dataset=scores.dataset,
        split=scores.split,
        streams=scores.streams,
    )
    key = StageSpec(kind="score", params=params).key
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / SCORES_FILE).write_bytes(content)
        output = store.add(Path(folder), [SCORES_FILE], key, 1, OUTPUT)
    return database.run(lambda session: _record(session, upload, dataset.revision, scores, params, key, output))


def listing(session: Session, dataset: str | None = None) -> list[ScoreUploadRow]:
    """Return the score files that users brought, newest first."""
    query = select(ScoreUploadRow).order_by(ScoreUploadRow.created_at.desc(), ScoreUploadRow.id)
    return list(session.scalars(query if dataset is None else query.where(ScoreUploadRow.dataset == dataset)))


def get(session: Session, upload_id: str) -> ScoreUploadRow:
    """Return one, or raise ``NotFound``."""
    row = session.get(ScoreUploadRow, upload_id)
    if row is None:
        raise NotFound("score file", upload_id)
    return row


def named(session: Session, ids: Sequence[str]) -> list[ScoreUploadRow]:
    """Return those of some ids that are there."""
    return list(session.scalars(select(ScoreUploadRow).where(ScoreUploadRow.id.in_(ids))))


def _record(
    session: Session,
    upload: Upload,
    revision: int,
    scores: ScoreFile,
    params: UploadParams,
    key: str,
    output: str,
) -> tuple[ScoreUploadRow, bool]:
    stage = {
        "key": key,
        "kind": "score",
        "params": params.model_dump(mode="json"),
        "label": f"uploaded {upload.name} {upload.stream}, split {upload.split}",
        "queue": "cpu",
        "state": "succeeded",
        "owner": upload.owner,
        "timeout_seconds": 0,
        "summary": {"clips": len(scores.clips), "names": list(scores.classes), "ids": digest_of_ids(scores.clips)},
        "output": output,
        "finished_at": func.clock_timestamp(),
    }
    session.execute(insert(StageRow).values(stage).on_conflict_do_nothing())
    row = {
        "id": key,
        "name": upload.name,
        "owner": upload.owner,
        "dataset": scores.dataset,
        "revision": revision,
        "split": scores.split,
        "stream": upload.stream,
        "kind": scores.kind,
        "clips": len(scores.clips),
        "classes": len(scores.classes),
    }
    added = session.scalar(insert(ScoreUploadRow).values(row).on_conflict_do_nothing().returning(ScoreUploadRow.id))
    return get(session, key), added is not None
