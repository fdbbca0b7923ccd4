"""The loop that conducts sweeps: in each round one process of the fleet takes a turn for each sweep that goes on."""

from __future__ import annotations

import logging

from services.db.engine import Database
from services.db.locks import held
from services.loops import Loop
from services.settings import Settings
from services.stores.broker import Broker
from services.sweeps import sweeps
from services.sweeps.study import Storage
from services.sweeps.turn import Turn

ADVISORY_LOCK = 7_205_759_403_792_797
"""Held by the process that takes turns; any fixed number that nothing else uses. It goes with its connection."""

log = logging.getLogger(__name__)


class Conductor:
    """Takes turns in a background thread until it is stopped.

    Args:
        settings: how often.
        database: where sweeps are, and Optuna's storage.
        broker: rung for what trials bring.
    """

    def __init__(self, settings: Settings, database: Database, broker: Broker) -> None:
        self._database, self._broker = database, broker
        self._storage = Storage(database)
        every = settings.sweep_seconds
        self._loop = Loop("sweeps", self.round, every, first_seconds=every)

    def start(self) -> None:
        """Start the loop."""
        self._loop.start()

    def stop(self) -> None:
        """Stop after the present round; another process goes on with what is left."""
        self._loop.stop(timeout=10)
        self._storage.close()

    def round(self) -> None:
        """Take a turn for each sweep, unless another process does; a sweep that fails leaves the others their turn.

        Raises:
            Exception: what the first sweep that failed raised, after all had their turn.
        """
        with self._database.transaction() as session:
            ids = sweeps.live(session)
        if not ids:
            return
        failures = []
        with held(self._database, ADVISORY_LOCK) as hold:
            if not hold:
                return
            for sweep_id in ids:
                hold.keep()
                try:
                    Turn(self._database, self._broker, self._storage, sweep_id).take()
                except Exception as error:  # raised again below
                    log.warning("sweep %s waits: %s: %s", sweep_id, type(error).__name__, error)
                    failures.append(error)
        if failures:
            raise failures[0]
