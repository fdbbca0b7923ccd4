"""Sends the outbox to MLflow: in order, in batches, each thing once, however often MLflow was away.

A point that was sent but whose answer was lost is sent again with the same time, step and value, which MLflow's
store keeps once; a run is looked for by its ``twostream.id`` tag before it is made.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from services import events, portraits
from services.artifacts import ArtifactStore
from services.db.engine import Database
from services.db.locks import held
from services.db.tables import ExperimentRow, OutboxRow, StageRow
from services.errors import Unavailable
from services.proxies import spare_local
from services.settings import load

BATCH = 500
"""Rows of the outbox read at once; MLflow takes up to 1000 items in a batch."""
GIVE_UP_REFUSALS = 5
"""A row that MLflow refuses is set aside after this many tries."""
GIVE_UP_FAILURES = 30
"""One at which MLflow fails, though it takes others, after this many: with the pauses between them, a working day."""
FIRST_HOLD_SECONDS, LAST_HOLD_SECONDS = 5.0, 1200.0
"""How long a run waits after such a failure: doubled each time, up to the last."""
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


class Held(Exception):
    """A run has to wait for as many seconds, since MLflow fails at its next row."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


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
        self._holds: dict[Subject, float] = {}

    def drain(self) -> int:
        """Send what waits, in order, and return how many rows were delivered.

        A row at which MLflow fails holds up its own run and the runs below that, and no other.

        Raises:
            Unavailable: MLflow does not answer; what was not delivered stays.
        """
        delivered = 0
        while rows := self._pending():
            for subject, group in groupby(rows, key=lambda row: Subject(row.experiment_id, row.stage_key)):
                part = list(group)
                if subject in self._holds:
                    continue
                try:
                    self._deliver(subject, part)
                except Held as held:
                    self._holds[subject] = time.monotonic() + held.seconds
                else:
                    delivered += len(part)
            if len(rows) < BATCH:
                break
        return delivered

    def _pending(self) -> list[OutboxRow]:
        now = time.monotonic()
        self._holds = {subject: end for subject, end in self._holds.items() if end > now}
        experiments = [subject.experiment_id for subject in self._holds if subject.experiment_id is not None]
        stages = [subject.stage_key for subject in self._holds if subject.stage_key is not None]
        query = select(OutboxRow).where(
            OutboxRow.delivered_at.is_(None),
            func.coalesce(OutboxRow.experiment_id, "").not_in(experiments),
            func.coalesce(OutboxRow.stage_key, "").not_in(stages),
        )
        with self._database.transaction() as session:
            return list(session.scalars(query.order_by(OutboxRow.id).limit(BATCH)))

    def _deliver(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send rows of one run, neighbouring points in one batch."""
        for is_metric, group in groupby(rows, key=lambda row: row.kind == "metric"):
            part = list(group)
            for batch in [part] if is_metric else [[row] for row in part]:
                self._try(subject, batch)

    def _try(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send one batch; of one that fails, send each row alone, so that one bad row spoils no other.

        Raises:
            Held: MLflow fails at a row, and not because it is away.
        """
        try:
            self._send(subject, rows)
        except (MlflowException, Unavailable, OSError) as error:  # the latter two: the artifact store, or its file
            refused = isinstance(error, MlflowException) and _status(error) < SERVER_ERROR
            if not refused:
                self._require_answer()
            if len(rows) > 1:
                for row in rows:
                    self._try(subject, [row])
                return
            row = rows[0]
            given_up = self._failed(row, error, GIVE_UP_REFUSALS if refused else GIVE_UP_FAILURES)
            if not given_up and (not refused or row.kind == "open"):
                raise Held(min(FIRST_HOLD_SECONDS * 2**row.failures, LAST_HOLD_SECONDS)) from error
        else:
            self._delivered(rows)

    def _require_answer(self) -> None:
        """Raise ``Unavailable`` unless MLflow can write: what fails then is not the row's fault."""
        try:
            self._client.set_experiment_tag(self._folder(), "twostream.asked", str(time.time()))
        except (MlflowException, OSError) as error:
            raise Unavailable(f"MLflow at {self.address}: {_first_line(error)}") from error

    def _send(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        row = rows[0]
        if row.kind == "open":
            self._open(subject, row)
            return
        run_id = self._run_id(subject)
        if run_id is None:
            raise MlflowException.invalid_parameter_value("its run could not be opened")
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
        if (above := Subject(parent, None)) in self._holds:
            raise Held(self._holds[above] - time.monotonic())
        portrait = self._portrait(subject)
        name = subject.experiment_id or f"{parent}/{subject.stage_key}"
        found = self._client.search_runs([folder], f"tags.`{ID_TAG}` = '{name}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
        else:
            tags = {ID_TAG: name} | {f"twostream.{tag}": value for tag, value in portrait.tags.items()}
            if parent is not None:
                tags["mlflow.parentRunId"] = self._run_id(above) or ""
            run = self._client.create_run(folder, run_name=portrait.name, tags=tags)
            run_id = run.info.run_id
        params = [Param(key, value) for key, value in portrait.params.items()]
        for start in range(0, len(params), PARAMS_IN_A_BATCH):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_IN_A_BATCH])
        with self._database.transaction() as session:
            _remember(session, subject, run_id)

    def _portrait(self, subject: Subject) -> portraits.Portrait:
        with self._database.transaction() as session:
            if subject.stage_key is None:
                return portraits.of_experiment(session.get_one(ExperimentRow, subject.experiment_id))
            return portraits.of_stage(session.get_one(StageRow, subject.stage_key))

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

    def _failed(self, row: OutboxRow, error: Exception, most: int) -> bool:
        """Count a failure; after ``most`` of them set the row aside, tell of it as an event, and return True."""
        tries, reason = row.failures + 1, _first_line(error)
        log.warning("MLflow has refused %s %r (%d of %d tries): %s", row.kind, row.name, tries, most, reason)
        values: dict[str, Any] = {"failures": tries, "error": reason}
        with self._database.transaction() as session:
            if tries >= most:
                values["delivered_at"] = func.clock_timestamp()
                events.tell(
                    session,
                    "mlflow.refused",
                    experiment_id=row.experiment_id,
                    stage_key=row.stage_key,
                    kind=row.kind,
                    name=row.name,
                    error=reason,
                )
            session.execute(update(OutboxRow).where(OutboxRow.id == row.id).values(values))
        return tries >= most


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
    settings = load()
    if settings.database_url is None or settings.mlflow_url is None:
        sys.exit("TWOSTREAM_DATABASE_URL and TWOSTREAM_MLFLOW_URL: not set, needed for tracking")
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end_of_input, args=(over,), daemon=True).start()
    os.nice(NICENESS)
    spare_local(settings.mlflow_url)
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
