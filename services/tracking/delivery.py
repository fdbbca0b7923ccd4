"""What a row of the outbox asks MLflow to do: the requests behind it, and what these need from our own stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Metric
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.db.engine import Database
from services.db.tables import ExperimentRow, OutboxRow, StageRow
from services.errors import Denied, Unavailable
from services.stores.artifacts import ArtifactStore
from services.tracking import portraits
from services.tracking.mlflow_server import MlflowServer


@dataclass(frozen=True)
class Subject:
    """What a run stands for: an experiment or a stage."""

    experiment_id: str | None
    stage_key: str | None


class StoreAway(Exception):
    """The artifact store does not answer."""


class FileGone(Exception):
    """The artifact store has no such file any more."""


class Delivery:
    """Sends rows of one run.

    Args:
        server: to which MLflow.
        database: where runs are remembered.
        store: where artifacts are read from.
    """

    def __init__(self, server: MlflowServer, database: Database, store: ArtifactStore) -> None:
        self._server, self._database, self._store = server, database, store

    def send(self, folder_id: str, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send one row, or neighbouring points.

        Args:
            folder_id: MLflow experiment of all runs.
            subject: whose run.
            rows: one row, or several of the kind ``metric``.

        Raises:
            Unavailable: Postgres does not answer.
            StoreAway: the artifact store does not.
            Exception: whatever MLflow's client makes of MLflow's answer, or we of the row.
        """
        row = rows[0]
        if row.kind == "open":
            self._open(folder_id, subject, row)
            return
        run_id = self.run_id(subject)
        if run_id is None:
            raise LookupError("its run could not be opened")
        if row.kind == "metric":
            points = [Metric(entry.name, entry.data["value"], entry.data["timestamp"], entry.step) for entry in rows]
            self._server.add_points(run_id, points)
        elif row.kind == "status":
            tags = {f"twostream.{name}": value for name, value in row.data.get("tags", {}).items()}
            self._server.set_status(run_id, tags, row.data.get("status"))
        elif row.kind == "artifact":
            self._server.add_file(run_id, self.file(row))

    def file(self, row: OutboxRow) -> Path:
        """Return a local copy of the file that a row of the kind ``artifact`` names.

        Raises:
            StoreAway: the artifact store does not answer.
            FileGone: it has no such file.
        """
        uri: str = row.data["uri"]
        folder, _, name = uri.rpartition("/")
        try:
            file = self._store.fetch(folder) / name
        except Denied as error:
            raise FileGone(str(error)) from error
        except Unavailable as error:
            raise StoreAway(str(error)) from error
        if not file.exists():
            raise FileGone(f"no file {file}")
        return file

    def run_id(self, subject: Subject) -> str | None:
        """Return the id of a run that was opened."""
        with self._database.transaction() as session:
            if subject.stage_key is not None:
                return session.scalar(select(StageRow.mlflow_run_id).where(StageRow.key == subject.stage_key))
            return session.scalar(select(ExperimentRow.mlflow_run_id).where(ExperimentRow.id == subject.experiment_id))

    def _open(self, folder_id: str, subject: Subject, row: OutboxRow) -> None:
        """Open the run, and remember its id in Postgres."""
        parent, portrait = row.data.get("parent"), self._portrait(subject)
        tags = {f"twostream.{tag}": value for tag, value in portrait.tags.items()}
        id_ = subject.experiment_id or f"{parent}/{subject.stage_key}"
        above = None if parent is None else self.run_id(Subject(parent, None)) or ""
        run_id = self._server.open_run(folder_id, id_, portrait.name, tags, above)
        self._server.add_params(run_id, portrait.params)
        with self._database.transaction() as session:
            remember(session, subject, run_id)

    def _portrait(self, subject: Subject) -> portraits.Portrait:
        with self._database.transaction() as session:
            if subject.stage_key is None:
                return portraits.of_experiment(session.get_one(ExperimentRow, subject.experiment_id))
            return portraits.of_stage(session.get_one(StageRow, subject.stage_key))


def remember(session: Session, subject: Subject, run_id: str | None) -> None:
    """Write down the id of a run, or that there is none any more."""
    if subject.stage_key is not None:
        session.execute(update(StageRow).where(StageRow.key == subject.stage_key).values(mlflow_run_id=run_id))
    else:
        query = update(ExperimentRow).where(ExperimentRow.id == subject.experiment_id)
        session.execute(query.values(mlflow_run_id=run_id))
