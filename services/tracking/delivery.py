"""What a row of the outbox asks MLflow to do: the requests behind it, and what these need from our own stores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.db.engine import Database
from services.db.tables import ExperimentRow, ExperimentStreamRow, OutboxRow, PaperRow, ProtocolRow, StageRow
from services.errors import Denied, Unavailable
from services.journal.outbox import FORGET
from services.stores.artifacts import ArtifactStore
from services.tracking import exhibits, portraits, use
from services.tracking.mlflow_server import ENDED, MlflowServer, NewRun
from services.tracking.portraits import Measured, Portrait

ASKED, ASKED_AGAIN = "asked", "asked_again"
"""What a row that opens a run says once MLflow was asked to make it: if it is asked again, there may be two."""


@dataclass(frozen=True)
class Subject:
    """What a run stands for: an experiment or a stage."""

    experiment_id: str | None
    stage_key: str | None

    @classmethod
    def of(cls, row: OutboxRow) -> Subject:
        """Return whose run a row is about; that of a deleted experiment goes by its id alone."""
        return cls(row.name, None) if row.kind == FORGET else cls(row.experiment_id, row.stage_key)


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
            folder_id: MLflow experiment of the subject's dataset.
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
        if row.kind == FORGET:
            self._server.delete_runs(row.data["folder"] or folder_id, row.name)
            return
        run_id = self.run_id(subject)
        if run_id is None:
            raise LookupError("its run could not be opened")
        if row.kind == "metric":
            points = [Metric(entry.name, entry.data["value"], entry.data["timestamp"], entry.step) for entry in rows]
            self._server.add_points(run_id, points)
        elif row.kind == "status":
            if "sweep" in row.data:
                self._end_sweep(folder_id, row)
            else:
                self._set_status(folder_id, subject, run_id, row)
        elif row.kind == "artifact":
            with self.file(row) as file:
                if file is not None:
                    self._server.add_file(run_id, file)

    @contextmanager
    def file(self, row: OutboxRow) -> Iterator[Path | None]:
        """Give a local copy of the file of an ``artifact`` row; None where an experiment has no such exhibit.

        Raises:
            StoreAway: the artifact store does not answer.
            FileGone: it has no such file.
        """
        if "exhibit" not in row.data:
            yield self._stored(row.data["uri"])
            return
        with tempfile.TemporaryDirectory(prefix="twostream-") as folder:
            with self._database.transaction() as session:
                made = exhibits.prepared(session, str(row.experiment_id), row.data["exhibit"])
            yield None if made is None else exhibits.write(made, Path(folder, row.data["exhibit"]))

    def _stored(self, uri: str) -> Path:
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

    def datasets(self, rows: Sequence[OutboxRow]) -> dict[Subject, str]:
        """Return the dataset of each run; a stage's is that of the experiment below which its run hangs."""
        keys = {row.stage_key for row in rows if row.stage_key is not None}
        opened = select(OutboxRow.stage_key, OutboxRow.data["parent"].astext)
        with self._database.transaction() as session:
            query = opened.where(OutboxRow.kind == "open", OutboxRow.stage_key.in_(keys))
            above = {key: parent for key, parent in session.execute(query)}  # noqa: C416 - rows are no pairs to mypy
            ids = {row.experiment_id for row in rows if row.experiment_id is not None} | {*above.values()}
            named = select(ExperimentRow.id, ExperimentRow.dataset).where(ExperimentRow.id.in_(ids))
            datasets = {id_: dataset for id_, dataset in session.execute(named)}  # noqa: C416 - likewise
        subjects = {Subject.of(row) for row in rows}
        datasets |= {row.name: row.data["dataset"] for row in rows if row.kind == FORGET}
        return {each: datasets.get(each.experiment_id or above.get(each.stage_key or "", ""), "") for each in subjects}

    def _open(self, folder_id: str, subject: Subject, row: OutboxRow) -> None:
        """Open the run, or find the one that an earlier try made, and remember its id in Postgres.

        The run of a stage lies where that of its experiment does, which may be an MLflow experiment of before.
        """
        parent: str | None = row.data.get("parent")
        with self._database.transaction() as session:
            portrait = _portrait(session, subject, parent)
            above = session.get(ExperimentRow, parent) if parent else None
        if above is not None:
            folder_id = above.mlflow_folder_id or folder_id
        over = None if parent is None else (above.mlflow_run_id if above else None) or ""
        if "sweep" in row.data:
            over = self._sweep(folder_id, row)
        id_ = _id_of(subject, parent)
        run_id = self._server.find_run(folder_id, id_, over)
        if run_id is None:
            self._note_asking(row)
            tags = {f"twostream.{tag}": value for tag, value in portrait.tags.items()}
            run_id = self._server.create_run(folder_id, NewRun(id_, portrait.name, tags, over, _milliseconds(row)))
        self._server.add_params(run_id, portrait.params)
        with self._database.transaction() as session:
            remember(session, subject, run_id, folder_id)

    def _sweep(self, folder_id: str, row: OutboxRow) -> str:
        """Return the run of a sweep, below which those of its experiments hang; the first of them opens it."""
        sweep = row.data["sweep"]
        found = self._server.find_run(folder_id, sweep["id"], None)
        if found is not None:
            return found
        tags = {"twostream.sweep": sweep["id"]}
        return self._server.create_run(folder_id, NewRun(sweep["id"], sweep["name"], tags, None, _milliseconds(row)))

    def _end_sweep(self, folder_id: str, row: OutboxRow) -> None:
        """Tag the run of a sweep, and say how it ended."""
        tags = {f"twostream.{name}": value for name, value in row.data["tags"].items()}
        self._server.set_status(self._sweep(folder_id, row), tags, row.data["status"], _milliseconds(row))

    def _note_asking(self, row: OutboxRow) -> None:
        """Write down that MLflow is asked for a run, before it is: the answer may be lost, or come too late."""
        row.data = {**row.data, ASKED_AGAIN if ASKED in row.data else ASKED: True}
        with self._database.transaction() as session:
            session.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(data=row.data))

    def _set_status(self, folder_id: str, subject: Subject, run_id: str, row: OutboxRow) -> None:
        tags = {f"twostream.{name}": value for name, value in row.data.get("tags", {}).items()}
        tags |= row.data.get("own_tags", {})
        status: str | None = row.data.get("status")
        if subject.stage_key is not None and status in ENDED:
            self._add_use(run_id, subject.stage_key)
        self._server.set_status(run_id, tags, status, _milliseconds(row))
        if status not in ENDED:
            return
        with self._database.transaction() as session:
            opened = session.scalar(_opening(subject))
            experiment_id = subject.experiment_id or ("" if opened is None else opened.get("parent", ""))
            above = session.get(ExperimentRow, experiment_id)
        if opened is not None and ASKED_AGAIN in opened:  # what it made then lies there by now, or never will
            where = folder_id if above is None else above.mlflow_folder_id or folder_id
            self._server.drop_twins(where, _id_of(subject, opened.get("parent")), run_id)

    def _add_use(self, run_id: str, stage_key: str) -> None:
        """Send what a stage used of its machine, an attempt at a time: a request takes 1000 points at the most."""
        with self._database.transaction() as session:
            attempts = list(use.points(session, stage_key))
        for points in attempts:
            if points:
                self._server.add_points(run_id, points)


def remember(session: Session, subject: Subject, run_id: str | None, folder_id: str | None = None) -> None:
    """Write down the id of a run and where it lies, or that there is none any more."""
    if subject.stage_key is not None:
        session.execute(update(StageRow).where(StageRow.key == subject.stage_key).values(mlflow_run_id=run_id))
    else:
        query = update(ExperimentRow).where(ExperimentRow.id == subject.experiment_id)
        session.execute(query.values(mlflow_run_id=run_id, mlflow_folder_id=folder_id))


def _portrait(session: Session, subject: Subject, parent: str | None) -> Portrait:
    experiment = session.get(ExperimentRow, subject.experiment_id or parent or "")
    above = None
    if experiment is not None:
        query = select(ExperimentStreamRow.stream, ExperimentStreamRow.model, ProtocolRow.line)
        query = query.join(ProtocolRow, ProtocolRow.digest == ExperimentStreamRow.protocol)
        found = session.execute(query.where(ExperimentStreamRow.experiment_id == experiment.id))
        places = session.scalars(select(PaperRow).where(PaperRow.experiment_id == experiment.id))
        streams = sorted((Measured(*row) for row in found), key=lambda each: each.stream)
        above = portraits.of_experiment(experiment, streams, places)
    if subject.stage_key is not None:
        return portraits.of_stage(session.get_one(StageRow, subject.stage_key), above)
    assert above is not None, "rows of an experiment go with it"
    return above


def _opening(subject: Subject) -> Any:
    whose = (
        OutboxRow.experiment_id == subject.experiment_id
        if subject.stage_key is None
        else OutboxRow.stage_key == subject.stage_key
    )
    return select(OutboxRow.data).where(whose, OutboxRow.kind == "open")


def _id_of(subject: Subject, parent: str | None) -> str:
    return subject.experiment_id or f"{parent}/{subject.stage_key}"


def _milliseconds(row: OutboxRow) -> int:
    return int(row.created_at.timestamp() * 1000)
