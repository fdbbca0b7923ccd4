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
from typing import Any

from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down

from services import claim, queue, workers
from services.artifacts import ArtifactStore
from services.broker import QUEUES, TASK, Broker, celery_app
from services.db.engine import Database
from services.errors import InvalidSettings, TwostreamError, Unavailable
from services.settings import Settings, load
from services.stages import QUEUES as KIND_QUEUES
from worker.attempt import Attempt, Worker
from worker.devices import Devices
from worker.forkserver import ForkServers

MAX_CONCURRENCY = 8
"""Stages that a worker runs at once on a big host, unless it is told otherwise."""

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

    def __init__(self, queues: list[str], concurrency: int) -> None:
        if settings.database_url is None or settings.redis_url is None:
            raise Unavailable("TWOSTREAM_DATABASE_URL and TWOSTREAM_REDIS_URL: not set, needed by a worker")
        self.queues, self.concurrency = queues, concurrency
        self.devices = Devices(os.environ.get("TWOSTREAM_DEVICE", "auto"))
        self.worker = Worker(
            id=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
            settings=settings,
            database=Database(settings.database_url, pool_size=2 * concurrency + 2),
            broker=Broker(settings.redis_url),
            store=ArtifactStore(settings.artifacts, settings.work / "cache"),
            forkservers=ForkServers(),
            threads=max(1, (os.cpu_count() or 1) // concurrency),
            stopping=threading.Event(),
        )
        self._report()
        self._pulse = threading.Thread(target=self._report_for_ever, name="pulse", daemon=True)

    def open(self) -> None:
        """Begin: get the fork servers ready, report, and answer what was rung before."""
        self.worker.forkservers.start([kind for kind, name in KIND_QUEUES.items() if name in self.queues])
        self._pulse.start()
        self.ring_for_ready()

    def close(self) -> None:
        """End in order; the stages have been asked to stop before."""
        self.worker.stopping.set()
        if self._pulse.is_alive():
            self._pulse.join()  # a last sign of life would come behind the farewell, and make a ghost
        self.worker.forkservers.close()
        with self.worker.database.transaction() as session:
            workers.leave(session, self.worker.id)
        self.worker.broker.close()
        self.worker.database.close()

    def work(self, name: str) -> int:
        """Run stages until none is ready, those of the queue that was rung for first; return how many.

        A slot that is free takes the next stage at once, without a message: Celery, once it was full, looks for
        messages no more often than every two seconds.
        """
        names = sorted(self.queues, key=lambda other: other != name)
        done = 0
        while any(self._run_next(other) for other in names):
            done += 1
        return done

    def _run_next(self, name: str) -> bool:
        """Claim the best stage of a queue and run it; False when there was none, or no device for it."""
        if self.worker.stopping.is_set():
            return False
        self.devices.lock.acquire()
        found = None
        try:
            if name == "cpu" or self.devices.available:
                found = self._claim(name)
        finally:
            if found is None:
                self.devices.lock.release()
        if found is None:
            return False
        with self.devices.granted(name, found.gpus) as grant:
            queues = Attempt(self.worker, found, grant).run()
        self.worker.broker.ring(queues)
        return True

    def ring_for_ready(self) -> None:
        """Ring for what was ready before we came."""
        try:
            with self.worker.database.transaction() as session:
                ready = queue.ready(session)
        except Unavailable as error:
            log.warning("nobody rings for what is ready; housekeeping will: %s", error)
            return
        self.worker.broker.ring({name: min(ready.get(name, 0), self.concurrency) for name in self.queues})

    def _claim(self, name: str) -> claim.Claim | None:
        device = "cpu" if name == "cpu" else ",".join(self.devices.names)
        with self.worker.database.transaction() as session:
            return claim.claim(
                session,
                name,
                worker_id=self.worker.id,
                device=device,
                lease_seconds=settings.lease_seconds,
                gpus=self.devices.available or 1,
            )

    def _report(self) -> None:
        with self.worker.database.transaction() as session:
            workers.report(
                session,
                self.worker.id,
                queues=self.queues,
                devices=self.devices.names,
                concurrency=self.concurrency,
            )

    def _report_for_ever(self) -> None:
        while not self.worker.stopping.wait(settings.heartbeat_seconds):
            try:
                self._report()
            except Unavailable as error:
                log.warning("no sign of life: %s", error)


_stations: list[Station] = []
"""The station of this process, between its start and its end; Celery's signals carry no state of ours."""


@app.task(name=TASK, ignore_result=True)
def work(name: str) -> int:
    """Answer the bell of a queue; a ring that finds nothing is a no-op."""
    if name not in QUEUES:
        log.warning("rung for %r, which is no queue of ours", name)
        return 0
    try:
        return _stations[0].work(name)
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
        station = Station(names, sender.concurrency)
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
