"""What somebody has to do now and then: expired leases, lost doorbells, silent workers, the MLflow outbox.

Any number of processes may run a housekeeper; an advisory lock lets one at a time work.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from sqlalchemy.exc import DBAPIError

from services import graph, queue, workers
from services.broker import QUEUES, Broker
from services.db.engine import Database
from services.db.locks import held
from services.errors import Unavailable
from services.settings import Settings

ADVISORY_LOCK = 7_205_759_403_792_795
"""Held by the housekeeper that is at work; any fixed number that nothing else uses."""
MAX_RINGS = 64
"""Most messages that wait in a queue; more than one a free worker slot does nothing."""
TRACKER = "services.tracking"
"""The module whose process sends the outbox; MLflow's client takes seconds to load, and time from requests."""
TRACKER_PAUSE_SECONDS = 5.0
"""Pause before that process is started again."""
TRACKER_STOP_SECONDS = 5.0
"""Time for what it is just sending."""

log = logging.getLogger(__name__)


class Housekeeper:
    """Sweeps in a background thread, and watches over the tracking process in another, until it is stopped."""

    def __init__(self, settings: Settings, database: Database, broker: Broker) -> None:
        self._settings, self._database, self._broker = settings, database, broker
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._sweep_for_ever, name="housekeeping", daemon=True)]
        if settings.mlflow_url is not None:
            self._threads.append(threading.Thread(target=self._track_for_ever, name="tracking", daemon=True))

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
                with held(self._database, ADVISORY_LOCK) as ours:
                    if ours:
                        sweep(self._database, self._broker, self._settings)
            except (Unavailable, DBAPIError) as error:
                log.warning("housekeeping pauses", extra={"error": str(error)})

    def _track_for_ever(self) -> None:
        """Keep the process that speaks with MLflow alive; it ends when its standard input does, so with us."""
        environment = os.environ | _environment(self._settings)
        while not self._stop.is_set():
            process = subprocess.Popen([sys.executable, "-m", TRACKER], stdin=subprocess.PIPE, env=environment)
            while process.poll() is None and not self._stop.wait(0.1):
                pass
            _end(process)
            if not self._stop.is_set():
                log.warning("the process that speaks with MLflow ended (%s) and is started again", process.returncode)
                self._stop.wait(TRACKER_PAUSE_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the tracking process: what it was sending when it had to be killed is sent again, and kept once."""
    try:
        process.communicate(timeout=TRACKER_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(settings: Settings) -> dict[str, str]:
    """Return the addresses of these settings as variables."""
    found = {
        "DATABASE_URL": settings.database_url,
        "MLFLOW_URL": settings.mlflow_url,
        "ARTIFACT_ROOT": settings.artifacts,
        "WORK_ROOT": str(settings.work),
    }
    return {f"TWOSTREAM_{name}": value for name, value in found.items() if value is not None}


def sweep(database: Database, broker: Broker, settings: Settings) -> None:
    """End expired attempts, settle what is left over, and ring for work that no message announces."""
    with database.transaction() as session:
        workers.mark_lost(session, settings.lease_seconds)
        queue.expire(session)
    with database.transaction() as session:
        graph.settle_leftovers(session)
        ready = queue.ready(session)
    missing = {name: min(ready[name], MAX_RINGS) - broker.pending(name) for name in QUEUES if ready.get(name)}
    broker.ring({name: count for name, count in missing.items() if count > 0})
