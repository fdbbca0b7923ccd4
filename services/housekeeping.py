"""What somebody has to do now and then: expired leases, lost doorbells, silent workers, the MLflow outbox.

Any number of processes may run a housekeeper; an advisory lock lets one at a time work.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from services import graph, queue, workers
from services.artifacts import ArtifactStore
from services.broker import QUEUES, Broker
from services.db.engine import Database
from services.db.tables import ExperimentRow
from services.errors import Unavailable
from services.settings import Settings

ADVISORY_LOCK = 7_205_759_403_792_795
"""Held by the housekeeper that is at work; any fixed number that nothing else uses."""
MAX_RINGS = 64
"""Most messages that wait in a queue; more than one a free worker slot does nothing."""
TRACKER_PAUSE_SECONDS = 5.0
"""Pause after MLflow did not answer."""

log = logging.getLogger(__name__)


class Housekeeper:
    """Sweeps and drains in two background threads until it is stopped."""

    def __init__(self, settings: Settings, database: Database, broker: Broker) -> None:
        self._settings, self._database, self._broker = settings, database, broker
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._sweep_for_ever, name="housekeeping", daemon=True)]
        if settings.mlflow_url is not None:
            self._threads.append(threading.Thread(target=self._drain_for_ever, name="tracking", daemon=True))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads; what MLflow has not heard stays in the outbox."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def _sweep_for_ever(self) -> None:
        while not self._stop.wait(self._settings.sweep_seconds):
            try:
                with _lock(self._database, ADVISORY_LOCK) as ours:
                    if ours:
                        sweep(self._database, self._broker, self._settings)
            except (Unavailable, DBAPIError) as error:
                log.warning("housekeeping pauses", extra={"error": str(error)})

    def _drain_for_ever(self) -> None:
        assert self._settings.mlflow_url is not None
        store = ArtifactStore(self._settings.artifacts, self._settings.work / "cache")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        tracking = importlib.import_module("services.tracking")  # MLflow's client takes seconds: after we answer
        tracker = tracking.Tracker(self._settings.mlflow_url, self._database, store)
        pause = 0.5
        while not self._stop.wait(pause):
            pause = 0.5
            try:
                with _lock(self._database, ADVISORY_LOCK + 1) as ours:
                    if ours:
                        tracker.drain()
            except (Unavailable, DBAPIError) as error:
                log.warning("MLflow hears later", extra={"error": str(error)})
                pause = TRACKER_PAUSE_SECONDS


def sweep(database: Database, broker: Broker, settings: Settings) -> None:
    """End expired attempts, settle what is left over, and ring for work that no message announces."""
    with database.transaction() as session:
        workers.mark_lost(session, settings.lease_seconds)
        queue.expire(session)
    with database.transaction() as session:
        _settle_leftovers(session)
        ready = queue.ready(session)
    missing = {name: min(ready[name], MAX_RINGS) - broker.pending(name) for name in QUEUES if ready.get(name)}
    broker.ring({name: count for name, count in missing.items() if count > 0})


def _settle_leftovers(session: Session) -> None:
    """Settle experiments that were submitted in the moment in which their last stage ended."""
    query = select(ExperimentRow).where(ExperimentRow.state.in_((*graph.LIVE, "cancelling")))
    graph.settle(session, list(session.scalars(query.order_by(ExperimentRow.id).with_for_update(skip_locked=True))))


def wait_until_idle(database: Database, seconds: float) -> bool:
    """Wait until MLflow has heard everything; return whether it has within the time."""
    deadline = time.monotonic() + seconds
    pending = text("SELECT 1 FROM outbox WHERE delivered_at IS NULL LIMIT 1")
    while time.monotonic() < deadline:
        with database.transaction() as session:
            if session.execute(pending).first() is None:
                return True
        time.sleep(0.2)
    return False


@contextmanager
def _lock(database: Database, key: int) -> Iterator[bool]:
    """Yield whether this process got a session's advisory lock; it goes with the connection if we die."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ours = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}))
        try:
            yield ours
        finally:
            if ours:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
