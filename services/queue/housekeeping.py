"""What has to be done now and then: expired leases, lost doorbells, silent workers, the outbox, what old results lack.

Any number of processes may run a housekeeper; at each turn one of them sweeps.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable

from services import chores
from services.board import backfill
from services.db.engine import Database
from services.errors import Contended, LeaseLost
from services.loops import Loop
from services.notify import sender
from services.queue import attempts, graph, workers
from services.settings import Settings
from services.stores.broker import QUEUES, Broker

SWEEP = "sweep"
"""Name of the chore."""
MAX_RINGS = 64
"""Most messages that wait in a queue; more than one a free worker slot does nothing."""
TURN = 0.9
"""Share of the period after which the next sweep may begin, so that two timers of one length do not miss each other."""
BACKFILL_SECONDS, REST_SECONDS = 1.0, 3600.0
"""Between two bits of what old results lack, and once they lack nothing."""
TRACKER = "services.tracking.sender"
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
        self._over = threading.Event()
        every = settings.sweep_seconds
        self._loops = [Loop("housekeeping", self._sweep, every, first_seconds=every)]
        self._loops.append(Loop("hits of old results", self._backfill, BACKFILL_SECONDS, first_seconds=every))
        if settings.mlflow_url is not None:
            self._loops.append(Loop("tracking", self._track, TRACKER_PAUSE_SECONDS))
        self._loops.append(Loop("notices", sender.notifier(settings, database).turn, sender.POLL_SECONDS))

    def start(self) -> None:
        """Start the loops."""
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop the loops; what MLflow has not heard stays in the outbox."""
        self._over.set()
        for loop in self._loops:
            loop.stop(timeout=10)

    def _sweep(self) -> None:
        every = self._settings.sweep_seconds
        if self._database.run(lambda session: chores.take(session, SWEEP, every * TURN)):
            sweep(self._database, self._broker, self._settings)

    def _backfill(self) -> float:
        """Do a bit of what is left of the hits of old results, and return the pause until the next."""
        mine = self._database.run(lambda session: chores.take(session, backfill.CHORE, BACKFILL_SECONDS * TURN))
        if not mine:
            return BACKFILL_SECONDS
        return REST_SECONDS if self._database.run(backfill.fill).done else BACKFILL_SECONDS

    def _track(self) -> None:
        """Stay with the process that speaks with MLflow; it ends when its standard input does, so with us."""
        environment = os.environ | _environment(self._settings)
        process = subprocess.Popen([sys.executable, "-m", TRACKER], stdin=subprocess.PIPE, env=environment)
        try:
            while process.poll() is None and not self._over.wait(0.1):
                pass
        finally:
            _end(process)
        if not self._over.is_set():
            log.warning("the process that speaks with MLflow ended (%s) and is started again", process.returncode)


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
    """Mark silent workers, end expired attempts, settle what is left over, and ring for work that no message announces.

    Each part has transactions of its own, and one that fails leaves the others their turn.

    Raises:
        Exception: what the first part that failed raised, after all had their turn.
    """
    failures = []
    parts: tuple[Callable[[], object], ...] = (
        lambda: database.run(lambda session: workers.mark_lost(session, settings.lease_seconds)),
        lambda: database.run(lambda session: attempts.shorten_leases(session, settings.lease_seconds)),
        lambda: end_expired(database),
        lambda: database.run(graph.settle_leftovers),
        lambda: ring_for_ready(database, broker),
    )
    for part in parts:
        try:
            part()
        except Exception as error:  # raised again below
            failures.append(error)
    if failures:
        raise failures[0]
    database.run(lambda session: chores.done(session, SWEEP))


def end_expired(database: Database) -> None:
    """End the attempts whose lease has run out, each in a transaction of its own."""
    with database.transaction() as session:
        found = attempts.expired(session)
    for key, attempt in found:
        try:
            with database.transaction() as session:
                attempts.expire(session, key, attempt)
        except LeaseLost as error:
            log.info("not expired: %s", error)
        except Contended as error:
            log.warning("stage %s is expired by a later sweep: %s", key[:12], error)


def ring_for_ready(database: Database, broker: Broker) -> None:
    """Ring for stages that are ready and that no message in a queue announces."""
    with database.transaction() as session:
        ready = attempts.ready(session)
    missing = {name: min(ready[name], MAX_RINGS) - broker.pending(name) for name in QUEUES if ready.get(name)}
    broker.ring({name: count for name, count in missing.items() if count > 0})
