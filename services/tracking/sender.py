"""Sends the outbox to MLflow: in order, in batches, each thing once, however often MLflow was away.

A point that was sent but whose answer was lost is sent again with the same time, step and value, which MLflow's
store keeps once; a run is looked for by its ``twostream.id`` tag before it is made, and again at its end if it was
asked for twice. What fails is a row's own fault only if MLflow takes the like of it before and after: see
``Tracker._try``.
"""

from __future__ import annotations

import logging
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError

from services.db.engine import Database
from services.db.locks import held
from services.db.tables import OutboxRow
from services.errors import Unavailable
from services.journal import events, outbox, tracker_state
from services.proxies import spare_local
from services.settings import load
from services.stores.artifacts import ArtifactStore, open_store
from services.tracking import mlflow_server
from services.tracking.delivery import Delivery, FileGone, StoreAway, Subject, remember
from services.tracking.mlflow_server import SERVER_ERROR, MlflowServer, TrackerAway, first_line

BATCH = 500
"""Rows of the outbox read at once; MLflow takes up to 1000 items in a batch."""
GIVE_UP_REFUSALS = 5
"""A row that MLflow refuses is set aside after this many tries."""
GIVE_UP_FAILURES = 30
"""One at which MLflow fails, though it takes others, after this many: with the pauses between them, a working day."""
FIRST_HOLD_SECONDS, LAST_HOLD_SECONDS = 5.0, 1200.0
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 60.0
POLL_SECONDS = 0.5
"""Between two looks into the outbox."""
NICENESS = 10
"""What MLflow hears can wait; requests cannot."""
ADVISORY_LOCK = 7_205_759_403_792_796
"""Held by the process that is sending; any fixed number that nothing else uses."""
IDLE_SECONDS = 300.0
"""Longer than a large file takes to reach MLflow; a sender that is silent for so long may be frozen."""
NOT_ALLOWED_OR_TOO_MUCH = frozenset({401, 403, 407, 408, 429})
"""Statuses that say nothing of what was sent (RFC 9110, sec. 15.5; RFC 6585, sec. 4)."""

log = logging.getLogger(__name__)


class Held(Exception):
    """A run has to wait for as many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s")
        self.seconds = seconds


class Replayed(Exception):
    """MLflow has lost a run or all of them: what it is to hear begins earlier than the rows at hand."""


class Tracker:
    """Sends what waits to one MLflow server.

    Args:
        url: address of the tracking server.
        database: where the outbox is.
        store: where artifacts are read from.
        first_hold_seconds: how long a run waits after a failure that holds it up; doubled each time, up to a limit.
    """

    def __init__(
        self,
        url: str,
        database: Database,
        store: ArtifactStore,
        first_hold_seconds: float = FIRST_HOLD_SECONDS,
    ) -> None:
        self._server, self._first_hold_seconds = MlflowServer(url), first_hold_seconds
        self._delivery = Delivery(self._server, database, store)
        self._database = database
        self._folders: dict[str, str] = {}
        self._datasets: Mapping[Subject, str] = {}
        self._holds: dict[Subject, float] = {}
        self._uncounted: dict[Subject, int] = {}
        self._replayed: set[Subject] = set()
        self._begun_anew: set[str] = set()
        self._keep: Callable[[], None] = lambda: None
        self._succeeded_at = -math.inf

    def drain(self, keep: Callable[[], None] = lambda: None) -> int:
        """Send what waits, in order, and return how many rows were delivered.

        A row at which MLflow fails holds up its own run and the runs below that, and no other. A fault of MLflow as a
        whole holds up everything and counts against no row; it is told once, see ``tracker_state``.

        Args:
            keep: called before each request; raises ``Unavailable`` once another process may send.

        Raises:
            Unavailable: MLflow takes nothing, or Postgres does not answer; what was not delivered stays.
        """
        self._replayed.clear()
        self._begun_anew.clear()
        self._keep = keep
        try:
            delivered = self._send_pending()
        except TrackerAway as error:
            self._succeeded_at = -math.inf
            with self._database.transaction() as session:
                tracker_state.hold(session, str(error))
            raise
        if delivered or time.monotonic() - self._succeeded_at > tracker_state.REFRESH_SECONDS:
            with self._database.transaction() as session:
                tracker_state.succeed(session)
            self._succeeded_at = time.monotonic()
        return delivered

    def _send_pending(self) -> int:
        delivered = 0
        while rows := self._pending():
            self._datasets = self._delivery.datasets(rows)
            try:
                self._find_folders(self._datasets.values())
                for subject, group in groupby(rows, key=Subject.of):
                    delivered += self._deliver(subject, list(group))
            except Replayed:
                continue
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

    def _find_folders(self, datasets: Iterable[str]) -> None:
        """See that MLflow is there and has the experiments of datasets; tell if one had to be restored or made anew.

        That in which all runs lay before is looked for as long as it is known.

        Raises:
            TrackerAway: it is not.
            Replayed: it has lost the runs of one, which are sent again from the beginning.
        """
        with self._database.transaction() as session:
            known = tracker_state.folders(session)
        for dataset in sorted({*datasets, *known.keys() & {""}}):
            self._find_folder(dataset, known.get(dataset))

    def _find_folder(self, dataset: str, known: str | None) -> None:
        folder = self._server.folder(dataset, known)
        self._folders[dataset] = folder.id
        lost = folder.fate == "new" and known is not None
        if lost and dataset in self._begun_anew:
            raise TrackerAway(f"MLflow at {self._server.address}: it loses its experiment again and again")
        with self._database.transaction() as session:
            if folder.id != known:
                tracker_state.remember_folder(session, dataset, folder.id)
            if lost:
                outbox.replay(session, folder_id=known)
            if lost or folder.fate == "restored":
                events.tell(session, f"mlflow.{'recreated' if lost else 'restored'}", folder=folder.id)
        if lost:
            self._begun_anew.add(dataset)
            log.warning("MLflow has lost the runs of %s: they are sent again", dataset or "all datasets")
            raise Replayed

    def _deliver(self, subject: Subject, rows: Sequence[OutboxRow]) -> int:
        """Send rows of one run, neighbouring points in one batch, and return how many; none of a run that is held."""
        if subject in self._holds:
            return 0
        try:
            if rows[0].kind == "open" and (above := Subject(rows[0].data.get("parent"), None)) in self._holds:
                raise Held(self._holds[above] - time.monotonic())  # noqa: TRY301 - as for its own rows
            for is_metric, group in groupby(rows, key=lambda row: row.kind == "metric"):
                part = list(group)
                for batch in [part] if is_metric else [[row] for row in part]:
                    self._try(subject, batch)
        except Held as held:
            self._holds[subject] = time.monotonic() + held.seconds
            return 0
        return len(rows)

    def _try(self, subject: Subject, rows: Sequence[OutboxRow]) -> None:
        """Send one batch; of one that fails, send each row alone, so that one bad row spoils no other.

        A row that fails is tried once more after MLflow has taken the like from us, and only then counted.

        Raises:
            Held: MLflow fails at a row, and not because it takes nothing.
            TrackerAway: it takes nothing.
            Replayed: it has lost this run or all.
        """
        error = self._attempt(subject, rows)
        if error is not None and not isinstance(error, StoreAway | FileGone):
            self._mend(subject, rows, error)
            if len(rows) > 1:
                for row in rows:
                    self._try(subject, [row])
                return
            error = self._attempt(subject, rows)
        if error is None:
            self._delivered(rows)
            self._uncounted.pop(subject, None)
        else:
            self._fail(subject, rows[0], error)

    def _attempt(self, subject: Subject, rows: Sequence[OutboxRow]) -> Exception | None:
        """Send one batch, and return what went wrong, unless it was Postgres."""
        self._keep()
        try:
            self._delivery.send(self._folders[self._datasets[subject]], subject, rows)
        except (Held, Unavailable, DBAPIError):
            raise
        except Exception as error:  # whatever MLflow's client makes of an answer, or we of a row
            return error
        return None

    def _mend(self, subject: Subject, rows: Sequence[OutboxRow], error: Exception) -> None:
        """See whose fault a failure is, and restore what was deleted in MLflow's page.

        Raises:
            TrackerAway: MLflow takes nothing.
            Replayed: it has lost this run or all.
        """
        if mlflow_server.status(error) in NOT_ALLOWED_OR_TOO_MUCH:
            raise TrackerAway(f"MLflow at {self._server.address}: {first_line(error)}") from error
        dataset = self._datasets[subject]
        self._find_folders([dataset])
        self._server.probe(self._folders[dataset], artifact=rows[0].kind == "artifact")
        run_id = self._delivery.run_id(subject)
        fate = "kept" if run_id is None else self._server.revive(run_id)
        if fate == "kept" or subject in self._replayed:
            return
        lost = fate == "missing"
        with self._database.transaction() as session:
            experiment_id, stage_key = subject.experiment_id, subject.stage_key
            type_ = f"mlflow.{'recreated' if lost else 'restored'}"
            events.tell(session, type_, experiment_id=experiment_id, stage_key=stage_key, run_id=run_id)
            if lost:
                remember(session, subject, None)
                outbox.replay(session, experiment_id, stage_key)
        if lost:
            self._replayed.add(subject)
            raise Replayed

    def _fail(self, subject: Subject, row: OutboxRow, error: Exception) -> None:
        """Count a failure against a row, unless the row has no part in it; have its run wait.

        Raises:
            Held: always, but for a row that was refused or is given up.
        """
        if not self._is_at_fault(row, error):
            tries = self._uncounted[subject] = self._uncounted.get(subject, 0) + 1
            log.warning("MLflow hears of %s %r later: %s", row.kind, row.name, first_line(error))
            raise Held(self._hold_seconds(tries)) from error
        from_server = isinstance(error, MlflowException | OSError) and mlflow_server.status(error) >= SERVER_ERROR
        failing = from_server or isinstance(error, FileGone)
        given_up = self._count(row, error, GIVE_UP_FAILURES if failing else GIVE_UP_REFUSALS)
        if not given_up and (failing or row.kind == "open"):
            raise Held(self._hold_seconds(row.failures)) from error

    def _hold_seconds(self, failures: int) -> float:
        return min(self._first_hold_seconds * 2.0**failures, LAST_HOLD_SECONDS)

    def _is_at_fault(self, row: OutboxRow, error: Exception) -> bool:
        """Say whether a failure is the row's own: not the store's, not this host's, and not that of a full disk."""
        if isinstance(error, StoreAway):
            return False
        if row.kind != "artifact" or isinstance(error, FileGone) or mlflow_server.status(error) < SERVER_ERROR:
            return True
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return False
        try:
            with self._delivery.file(row) as file:
                num_bytes = 0 if file is None else file.stat().st_size
        except (StoreAway, FileGone, OSError):
            return False
        folder_id = self._folders[self._datasets[Subject.of(row)]]
        return self._server.takes_file(folder_id, num_bytes)

    def _delivered(self, rows: Sequence[OutboxRow]) -> None:
        with self._database.transaction() as session:
            query = update(OutboxRow).where(OutboxRow.id.in_([row.id for row in rows]))
            session.execute(query.values(delivered_at=func.clock_timestamp(), error=None))

    def _count(self, row: OutboxRow, error: Exception, most: int) -> bool:
        """Count a failure; after ``most`` of them set the row aside, tell of it as an event, and return True."""
        tries, reason = row.failures + 1, first_line(error)
        ours = not isinstance(error, MlflowException | OSError | FileGone)
        log.warning(
            "MLflow has refused %s %r (%d of %d tries): %s", row.kind, row.name, tries, most, reason,
            exc_info=error if ours else None,
        )  # fmt: skip
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


class Backoff:
    """Pauses that grow while nothing works.

    Args:
        first_seconds: pause after a round that failed; doubled each time, up to a limit, and shortened by up to a half
            at random.
    """

    def __init__(self, first_seconds: float = FIRST_PAUSE_SECONDS) -> None:
        self._first_seconds, self._failures = first_seconds, 0

    def after(self, *, success: bool) -> float:
        """Return how many seconds to wait after a round that succeeded or not."""
        if success:
            self._failures = 0
            return POLL_SECONDS
        pause = min(self._first_seconds * 2.0**self._failures, LAST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 30)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - several senders shall not ask in step


def main() -> None:
    """Send the outbox until standard input ends: `python -m services.tracking.sender`, started by the housekeeper."""
    settings = load()
    if settings.database_url is None or settings.mlflow_url is None:
        sys.exit("TWOSTREAM_DATABASE_URL and TWOSTREAM_MLFLOW_URL: not set, needed for tracking")
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end_of_input, args=(over,), daemon=True).start()
    os.nice(NICENESS)
    spare_local(settings.mlflow_url)
    mlflow_server.set_up_client()
    database = Database(settings.database_url, pool_size=2)
    store = open_store(settings)
    _send_until(over, Tracker(settings.mlflow_url, database, store), database, Backoff())
    database.close()


def _send_until(over: threading.Event, tracker: Tracker, database: Database, backoff: Backoff) -> None:
    """Send what waits, round after round; whatever fails is told once, until something else does."""
    pause, told = POLL_SECONDS, ""
    while not over.wait(pause):
        try:
            with held(database, ADVISORY_LOCK, IDLE_SECONDS) as hold:
                if hold:
                    tracker.drain(hold.keep)
        except Exception as error:  # nothing may end the sender
            expected = isinstance(error, Unavailable | DBAPIError)
            if (reason := f"{type(error).__name__}: {first_line(error)}") != told:
                log.warning("MLflow hears later: %s", reason, exc_info=None if expected else error)
            told, pause = reason, backoff.after(success=False)
        else:
            told, pause = "", backoff.after(success=True)


def _wait_for_the_end_of_input(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main()
