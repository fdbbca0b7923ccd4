"""Sends the outbox to MLflow: in order, in batches, each thing once, however often MLflow was away.

A point that was sent but whose answer was lost is sent again with the same time, step and value, which MLflow's
store keeps once; a run is looked for by its ``twostream.id`` tag before it is made.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from services.artifacts import ArtifactStore
from services.db.engine import Database
from services.db.locks import held
from services.db.tables import ExperimentRow, OutboxRow, StageRow
from services.errors import Unavailable
from services.settings import Settings

BATCH = 500
"""Rows of the outbox read at once; MLflow takes up to 1000 items in a batch."""
GIVE_UP_FAILURES = 5
"""A row that MLflow refuses, though it answers, is set aside after this many tries."""
PARAMS_IN_A_BATCH = 100
SERVER_ERROR = 500
NICENESS = 10
"""What MLflow hears can wait; requests cannot."""
POLL_SECONDS, PAUSE_SECONDS = 0.5, 5.0
"""Between two looks into the outbox, and after MLflow did not answer."""
ADVISORY_LOCK = 7_205_759_403_792_796
"""Held by the process that is sending; any fixed number that nothing else uses."""
ID_TAG = "twostream.id"
EXPERIMENT_NAME = "twostream"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What a run stands for: an experiment or a stage."""

    experiment_id: str | None
    stage_key: str | None


@dataclass(frozen=True)
class Portrait:
    """What a run shows of its subject from the start."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]


class Tracker:
    """The door to one MLflow server.

    Args:
        url: address of the tracking server.
        database: where the outbox is.
        store: where artifacts are read from.
    """

    def __init__(self, url: str, database: Database, store: ArtifactStore) -> None:
        self.address = url
        self._client = MlflowClient(tracking_uri=url)
        self._database, self._store = database, store
        self._folders: dict[str, str] = {}

    def drain(self) -> int:
        """Send what waits, in order, and return how many rows were delivered.

        Raises:
            Unavailable: MLflow does not answer; what was not delivered stays.
        """
        delivered = 0
        while rows := self._pending():
            for subject, group in groupby(rows, key=lambda row: Subject(row.experiment_id, row.stage_key)):
                part = list(group)
                self._deliver(subject, part)
                delivered += len(part)
            if len(rows) < BATCH:
                break
        return delivered

    def _pending(self) -> list[OutboxRow]:
        with self._database.transaction() as session:
            query = select(OutboxRow).where(OutboxRow.delivered_at.is_(None)).order_by(OutboxRow.id).limit(BATCH)
            return list(session.scalars(query))

    def _deliver(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send rows of one run, neighbouring points in one batch."""
        for is_metric, group in groupby(rows, key=lambda row: row.kind == "metric"):
            part = list(group)
            for batch in [part] if is_metric else [[row] for row in part]:
                self._try(subject, batch)

    def _try(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send one batch; of one that is refused, send each row alone, so that one bad name spoils no other."""
        try:
            self._send(subject, rows)
        except MlflowException as error:
            if _status(error) >= SERVER_ERROR:  # also how the client tells that nobody answered
                raise Unavailable(f"MLflow at {self.address}: {_first_line(error)}") from error
            if len(rows) > 1:
                for row in rows:
                    self._try(subject, [row])
            else:
                self._refused(rows[0], error)
        else:
            self._delivered(rows)

    def _send(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        row = rows[0]
        if row.kind == "open":
            self._open(subject, row)
            return
        run_id = self._run_id(subject)
        if run_id is None:
            return
        if row.kind == "metric":
            points = [Metric(entry.name, entry.data["value"], entry.data["timestamp"], entry.step) for entry in rows]
            self._client.log_batch(run_id, metrics=points)
        elif row.kind == "status":
            for name, value in row.data.get("tags", {}).items():
                self._client.set_tag(run_id, f"twostream.{name}", value)
            if "status" in row.data:
                self._client.update_run(run_id, status=row.data["status"])
        elif row.kind == "artifact":
            self._client.log_artifact(run_id, str(self._store.open_file(row.data["uri"])))

    def _open(self, subject: Subject, row: OutboxRow) -> None:
        """Make the run unless an earlier try did, and remember its id in Postgres."""
        folder, parent = self._folder(), row.data.get("parent")
        portrait = self._portrait(subject)
        name = subject.experiment_id or f"{parent}/{subject.stage_key}"
        found = self._client.search_runs([folder], f"tags.`{ID_TAG}` = '{name}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            tags = {ID_TAG: name} | {f"twostream.{tag}": value for tag, value in portrait.tags.items()}
            if parent is not None:
                tags["mlflow.parentRunId"] = self._run_id(Subject(parent, None)) or ""
            run = self._client.create_run(folder, run_name=portrait.name, tags=tags)
            run_id = run.info.run_id
        params = [Param(key, value) for key, value in portrait.params.items()]
        for start in range(0, len(params), PARAMS_IN_A_BATCH):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_IN_A_BATCH])
        with self._database.transaction() as session:
            _remember(session, subject, run_id)

    def _portrait(self, subject: Subject) -> Portrait:
        with self._database.transaction() as session:
            if subject.stage_key is None:
                return _portrait_of_experiment(session.get_one(ExperimentRow, subject.experiment_id))
            return _portrait_of_stage(session.get_one(StageRow, subject.stage_key))

    def _folder(self) -> str:
        """Return the id of the MLflow experiment in which all runs lie, so that they can be compared."""
        if EXPERIMENT_NAME not in self._folders:
            found = self._client.get_experiment_by_name(EXPERIMENT_NAME)
            folder = found.experiment_id if found else self._client.create_experiment(EXPERIMENT_NAME)
            self._folders[EXPERIMENT_NAME] = folder
        return self._folders[EXPERIMENT_NAME]

    def _run_id(self, subject: Subject) -> str | None:
        with self._database.transaction() as session:
            if subject.stage_key is not None:
                return session.scalar(select(StageRow.mlflow_run_id).where(StageRow.key == subject.stage_key))
            return session.scalar(select(ExperimentRow.mlflow_run_id).where(ExperimentRow.id == subject.experiment_id))

    def _delivered(self, rows: Sequence[OutboxRow]) -> None:
        with self._database.transaction() as session:
            query = update(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows]))
            session.execute(query.values(delivered_at=func.clock_timestamp(), error=None))

    def _refused(self, row: OutboxRow, error: MlflowException) -> None:
        """Count a refusal; after some of them the row is set aside, so that it holds up nobody."""
        log.warning("MLflow refused %s %r: %s", row.kind, row.name, _first_line(error))
        values: dict[str, Any] = {"failures": OutboxRow.failures + 1, "error": _first_line(error)}
        if row.failures + 1 >= GIVE_UP_FAILURES:
            values["delivered_at"] = func.clock_timestamp()
        with self._database.transaction() as session:
            session.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(values))


def _portrait_of_experiment(row: ExperimentRow) -> Portrait:
    return Portrait(row.name, flatten(row.spec), {"owner": row.owner, "recipe": row.recipe or ""})


def _portrait_of_stage(row: StageRow) -> Portrait:
    params = row.params
    tags = {
        "kind": row.kind,
        "split": str(params.get("split") or ""),
        "stream": "+".join(params.get("streams") or [params.get("stream") or ""]),
        "seed": "" if params.get("seed") is None else str(params["seed"]),
    }
    return Portrait(row.label, flatten(params), tags)


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as flat ``a.b.c`` names with text values, the same names for every model."""
    flat: dict[str, str] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            flat |= flatten(entry, f"{prefix}{name}.")
        else:
            text = ",".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
            flat[f"{prefix}{name}"] = text[:6000]
    return flat


def _remember(session: Session, subject: Subject, run_id: str) -> None:
    if subject.stage_key is not None:
        session.execute(update(StageRow).where(StageRow.key == subject.stage_key).values(mlflow_run_id=run_id))
    else:
        query = update(ExperimentRow).where(ExperimentRow.id == subject.experiment_id)
        session.execute(query.values(mlflow_run_id=run_id))


def _status(error: MlflowException) -> int:
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]  # MLflow leaves it untyped


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]


def main() -> None:
    """Send the outbox until standard input ends: `python -m services.tracking`, started by the housekeeper."""
    settings = Settings()
    if settings.database_url is None or settings.mlflow_url is None:
        sys.exit("TWOSTREAM_DATABASE_URL and TWOSTREAM_MLFLOW_URL: not set, needed for tracking")
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end_of_input, args=(over,), daemon=True).start()
    os.nice(NICENESS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    database = Database(settings.database_url, pool_size=2)
    store = ArtifactStore(settings.artifacts, settings.work / "cache")
    tracker, pause = Tracker(settings.mlflow_url, database, store), POLL_SECONDS
    while not over.wait(pause):
        pause = POLL_SECONDS
        try:
            with held(database, ADVISORY_LOCK) as ours:
                if ours:
                    tracker.drain()
        except (Unavailable, DBAPIError) as error:
            log.warning("MLflow hears later: %s", _first_line(error))
            pause = PAUSE_SECONDS
    database.close()


def _wait_for_the_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main()
