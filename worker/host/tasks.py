"""The Celery side of a worker: a message rings, a stage is claimed and supervised, the next ones are rung for.

Started by `twostream worker`. This process never imports torch and holds no GPU.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from services.db.engine import Database
from services.errors import InvalidSettings, TwostreamError, Unavailable
from services.loops import Loop
from services.queue import attempts, claim, workers
from services.settings import Settings, load
from services.stages import KINDS
from services.stores.artifacts import open_store
from services.stores.broker import QUEUES, TASK, Broker, celery_app
from worker.host.attempt import Attempt, WorkerContext
from worker.host.devices import Devices
from worker.host.drain import Drain, probe_host
from worker.host.environment import environment
from worker.host.forkserver import ForkServers
from worker.host.machine import Machine

MAX_CONCURRENCY = 8
"""Stages that a worker runs at once on a big host, unless it is told otherwise."""

DRAIN_SECONDS = 10.0
"""Between two probes of a host that seemed broken."""
MACHINE_SECONDS = 5.0
"""Between two looks at what the machine does."""
FAREWELL_SECONDS = 30.0

log = logging.getLogger(__name__)


def _settings() -> Settings:
    """Return the settings, or end this process, which is nothing without them, with a message."""
    try:
        return load()
    except InvalidSettings as error:
        sys.exit(f"twostream worker: {error}")


settings = _settings()
app = celery_app(settings.redis_url or "redis://127.0.0.1:6379/0")
app.conf.update(worker_pool="threads", worker_concurrency=min(os.cpu_count() or 1, MAX_CONCURRENCY))


class Station:
    """A worker process from its start to its end: what its threads share, and its sign of life."""

    def __init__(self, settings: Settings, queues: list[str], concurrency: int) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise Unavailable("TWOSTREAM_DATABASE_URL and TWOSTREAM_REDIS_URL: not set, needed by a worker")
        self.queues, self.concurrency = queues, concurrency
        self.devices = Devices(os.environ.get("TWOSTREAM_DEVICE", "auto"), queues, concurrency)
        self.drain = Drain(settings.work, partial(probe_host, settings.work, self.devices.names))
        self.worker = WorkerContext(
            id=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            settings=settings,
            database=Database(settings.database_url, 3 * concurrency + 2, settings.patience_seconds),
            broker=Broker(settings.redis_url),
            store=open_store(settings),
            forkservers=ForkServers(),
            threads=max(1, (os.cpu_count() or 1) // concurrency),
            stopping=threading.Event(),
        )
        self.machine = Machine(self.devices.gpus)
        self._report()
        self._loops = (
            Loop("pulse", self._report, settings.heartbeat_seconds),
            Loop("drain", self.drain.look_again, DRAIN_SECONDS),
            Loop("machine", self.machine.look, MACHINE_SECONDS, MACHINE_SECONDS),
        )

    def open(self) -> None:
        """Begin: get the fork servers ready, report, and answer what was rung before."""
        self.worker.forkservers.start([name for name, kind in KINDS.items() if kind.queue in self.queues])
        for loop in self._loops:
            loop.start()
        self.ring_for_ready()

    def close(self) -> None:
        """End in order; the stages have been asked to stop before."""
        self.worker.stopping.set()
        for loop in self._loops:
            loop.stop(FAREWELL_SECONDS)  # a last sign of life would come behind the farewell, and make a ghost
        self.worker.forkservers.close()
        try:
            self.worker.database.run(lambda session: workers.leave(session, self.worker.id))
        except Unavailable as error:
            log.warning("no farewell; housekeeping will mark this worker lost: %s", error)
        self.worker.broker.close()
        self.worker.database.close()

    def work(self) -> int:
        """Run stages, the best of all queues each time, until none can be claimed; return how many.

        A slot that is free takes the next stage at once, without a message: Celery, once it was full, looks for
        messages no more often than every two seconds.
        """
        done = 0
        while self._run_next():
            done += 1
        return done

    def _run_next(self) -> bool:
        """Claim the best stage for which there is a device, and run it; False when there was none."""
        if self.worker.stopping.is_set() or self.drain.reason is not None:
            return False
        with self.devices.lock:
            queues = self.devices.open_queues()
            found = self._claim(queues) if queues else None
            if found is None:
                return False
            grant = self.devices.take(found.queue, found.gpus)
        attempt = Attempt(self.worker, found, grant)
        try:
            ready = attempt.run()
        finally:
            self.devices.give_back(found.queue, grant)
        if attempt.ending is not None and self.drain.note(found.key, found.label, attempt.ending.cause):
            self._loops[0].nudge()  # says so at once
        self.worker.broker.ring(ready)
        return True

    def ring_for_ready(self) -> None:
        """Ring for what was ready before we came."""
        try:
            with self.worker.database.transaction() as session:
                ready = attempts.ready(session)
        except Unavailable as error:
            log.warning("no message was sent for what is ready; housekeeping will send one: %s", error)
            return
        self.worker.broker.ring({name: min(ready.get(name, 0), self.concurrency) for name in self.queues})

    def _claim(self, queues: Sequence[str]) -> claim.Claim | None:
        return self.worker.database.run(
            lambda session: claim.claim(
                session,
                queues,
                worker_id=self.worker.id,
                device=",".join(self.devices.names),
                lease_seconds=self.worker.settings.lease_seconds,
                gpus=self.devices.available or 1,
                environment=environment(),
            )
        )

    def _report(self) -> None:
        self.worker.database.run(
            lambda session: workers.report(
                session,
                self.worker.id,
                queues=self.queues,
                devices=self.devices.names,
                concurrency=self.concurrency,
                draining=self.drain.reason,
                use=self.machine.use,
            )
        )


_stations: list[Station] = []
"""The station of this process, between its start and its end; Celery's signals carry no state of ours."""


@app.task(name=TASK, ignore_result=True)
def work(name: str) -> int:
    """Answer the bell of a queue; a ring that finds nothing is a no-op."""
    if name not in QUEUES:
        log.warning("rung for %r, which is no queue of ours", name)
        return 0
    try:
        return _stations[0].work()
    except Unavailable as error:
        log.warning("could not claim: %s", error)
        return 0


@setup_logging.connect
def _log_plainly(loglevel: int = logging.INFO, **_: Any) -> None:
    logging.basicConfig(level=loglevel, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)


@worker_init.connect
def _begin(sender: Any, **_: Any) -> None:
    names = list(sender.app.amqp.queues.consume_from or QUEUES)
    try:
        station = Station(settings, names, sender.concurrency)
    except TwostreamError as error:
        sys.exit(f"twostream worker: {error}")
    _stations.append(station)
    station.open()


@worker_shutting_down.connect
def _stop_stages(**_: Any) -> None:
    for station in _stations:
        station.worker.stopping.set()


@worker_shutdown.connect
def _end(**_: Any) -> None:
    while _stations:
        _stations.pop().close()
