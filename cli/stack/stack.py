"""All parts of one machine: started in order, watched, started again if they die, and stopped in reverse."""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cli.stack import addresses, ports
from cli.stack.api import Api
from cli.stack.home import Home, State
from cli.stack.leftovers import MARK, end, end_leftovers, family, remember
from cli.stack.mlflow import Mlflow
from cli.stack.postgres import Postgres, create_database
from cli.stack.process import Command, Process, StackError, describe_exit
from cli.stack.redis import Redis
from cli.stack.signals import Signals
from cli.stack.worker import Worker, WorkerOptions
from services.db.migrate import upgrade
from services.settings import Settings

START_SECONDS = 120.0
WATCH_SECONDS = 0.2
"""Between two looks at all parts, of which any may end or begin to answer: no single event says so."""
STOP_ORDER = ("worker", "api", "mlflow", "redis", "postgres")
PORT_TRIES = 5
"""Ports tried for a server that binds its port itself, each of which somebody took before it could."""
RESTARTS = 5
RESTART_WINDOW_SECONDS = 600.0


class Part(Protocol):
    """What the stack needs to know of a part."""

    def prepare(self) -> None:
        """Make ready what the part needs on disk, and recover from an earlier run."""

    def command(self) -> Command:
        """Return what to run."""
        raise NotImplementedError

    def healthy(self, pid: int, /) -> bool:
        """Say whether the part that runs as this process answers."""
        raise NotImplementedError


@dataclass
class Running:
    """A part, its present process, and when it was started again."""

    part: Part
    process: Process
    url: str
    ready: bool = False
    restarts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS))


class Stack:
    """The embedded stack on one home.

    Args:
        settings: what it gives is used, the rest is started.
        home: held by the caller.
        worker: what the worker serves; None starts none.
        say: prints one line for the user.
        signals: the wish to stop.
    """

    def __init__(
        self, settings: Settings, home: Home, worker: WorkerOptions | None, say: Callable[[str], None], signals: Signals
    ) -> None:
        self._settings, self._home, self._worker_options = settings, home, worker
        self._say, self._signals = say, signals
        self._running: dict[str, Running] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._state = State(pid=os.getpid(), run=uuid.uuid4().hex)

    @property
    def addresses(self) -> dict[str, str]:
        """URL of each part, given ones too, without passwords: those stand in the private state file alone."""
        return {name: addresses.without_password(url) for name, url in self._state.addresses.items()}

    def up(self) -> None:
        """Start every part that no address was given for; MLflow's first answer is not waited for.

        Raises:
            StackError: a part does not come up, or a given address does not answer.
            StopRequested: somebody asked to stop meanwhile.
        """
        end_leftovers(self._home)
        found = self._state.addresses
        found |= self._servers()
        mlflow = None if self._settings.mlflow_url else self._mlflow(found["database"])
        found["mlflow"] = mlflow.url if mlflow else str(self._settings.mlflow_url)
        upgrade(found["database"])
        environment = addresses.environment(self._settings, self._home.path, self._state.run, found)
        self._start_api(environment)
        if self._worker_options is not None:
            self._start_worker(self._worker_options, environment)
        self._await("api")
        if mlflow is not None:  # the slowest, and nobody waits for it: the others have the processor first
            self._start("mlflow", mlflow, mlflow.url)
        self._await("worker")

    def watch(self) -> None:
        """Stay until somebody asks to stop; start a part again that has died.

        Raises:
            StackError: a part died too often.
            StopRequested: somebody asked to stop.
        """
        while True:
            self._signals.pause(WATCH_SECONDS)
            for name, entry in self._running.items():
                if not entry.process.running():
                    self._restart(name, entry)
                elif not entry.ready and entry.part.healthy(entry.process.pid):
                    self._announce(name)

    def down(self) -> None:
        """Stop everything: what uses a part ends before it.

        Our own sockets go first: a part keeps its port as long as it lives, and who comes later is refused at once in
        place of waiting for a part that nobody starts again.
        """
        for listener in self._listeners.values():
            listener.close()
        for name in STOP_ORDER:
            if name in self._running:
                self._say(f"stopping {name}")
                self._stop(self._running[name].process)
        self._home.forget_state()

    def _stop(self, process: Process) -> None:
        """Stop a part and whatever it started; what is left when the part has ended has nobody to end for."""
        descendants = family(process.pid)
        process.stop(self._signals.hurry)
        end(descendants, signal.SIGKILL)

    def _servers(self) -> dict[str, str]:
        """Bring up PostgreSQL and Redis side by side and return both addresses."""
        given = self._settings
        database, redis = given.database_url, given.redis_url
        if database is not None:
            addresses.require("PostgreSQL", "TWOSTREAM_DATABASE_URL", database)
        if redis is not None:
            addresses.require("Redis", "TWOSTREAM_REDIS_URL", redis)
        redis = redis or self._start_redis()
        database = database or self._start_postgres()
        database = self._settle("postgres", database, self._start_postgres)
        redis = self._settle("redis", redis, self._start_redis)
        if "postgres" in self._running:
            create_database(urlsplit(database)._replace(path="/postgres").geturl(), "twostream")
        return {"database": database, "redis": redis}

    def _settle(self, name: str, url: str, start: Callable[[], str]) -> str:
        """Wait for a server that binds its port itself and return its address.

        Between the end of our reservation and its start somebody may take the port: it then begins again on another.
        """
        for _ in range(PORT_TRIES):
            try:
                self._await(name)
            except StackError:
                process = self._running[name].process
                if process.running() or not ports.is_taken(urlsplit(url).port or 0):
                    raise
                self._say(f"{name}: somebody took port {urlsplit(url).port} meanwhile")
                self._stop(process)
                url = start()
            else:
                break
        return url

    def _start_postgres(self) -> str:
        port = ports.port_of(self._reserve("postgres", addresses.POSTGRES_PORT))
        server = Postgres(self._home.path / "postgres", port, self._home.password(), self._log("postgres"))
        return self._start("postgres", server, server.url("twostream"))

    def _start_redis(self) -> str:
        port = ports.port_of(self._reserve("redis", addresses.REDIS_PORT))
        server = Redis(self._home.path / "redis", port, self._home.password(), self._log("redis"))
        return self._start("redis", server, server.url)

    def _mlflow(self, database: str) -> Mlflow:
        """Return MLflow on a database of its own, beside ours on the same server."""
        ours = urlsplit(database)
        name = "mlflow" if "postgres" in self._running else f"{ours.path.lstrip('/')}_mlflow"
        create_database(database, name)
        store = ours._replace(path=f"/{name}").geturl()
        listener = self._reserve("mlflow", addresses.MLFLOW_PORT)
        environment = {**os.environ, MARK: self._state.run}
        return Mlflow(self._home.path / "mlflow", listener, store, environment, self._log("mlflow"))

    def _start_api(self, environment: Mapping[str, str]) -> None:
        host, preferred = self._settings.api_host, self._settings.api_port
        try:
            listener = self._reserve("api", preferred, host)
        except OSError as error:
            raise StackError(f"api: {host!r}: {error.strerror}; hint: it is set by TWOSTREAM_API_HOST") from error
        port = ports.port_of(listener)
        if port != preferred and "api_port" in self._settings.model_fields_set:
            raise StackError(f"api: port {preferred} is taken; hint: it is set by TWOSTREAM_API_PORT")
        listens = {"TWOSTREAM_API_HOST": host, "TWOSTREAM_API_PORT": str(port)}
        server = Api(listener, {**environment, **listens}, self._log("api"))
        self._state.addresses["api"] = self._start("api", server, server.url)

    def _start_worker(self, options: WorkerOptions, environment: Mapping[str, str]) -> None:
        token = self._settings.api_token
        worker = Worker(
            options,
            api=self._state.addresses["api"],
            token=None if token is None else token.get_secret_value(),
            grace_seconds=self._settings.grace_seconds + 15,
            env=environment,
            log=self._log("worker"),
        )
        self._start("worker", worker, "")

    def _start(self, name: str, part: Part, url: str) -> str:
        """Start a part without waiting for it, and return its address."""
        part.prepare()
        command = part.command()
        if name in self._listeners and not command.pass_fds:  # it binds its port itself
            self._listeners.pop(name).close()
        self._running[name] = Running(part, Process.start(command), url)
        self._remember()
        return url

    def _await(self, name: str) -> None:
        """Wait for a part's first answer; a part that was not started needs none."""
        entry = self._running.get(name)
        if entry is None or entry.ready:
            return
        entry.process.wait_until(entry.part.healthy, START_SECONDS, self._signals.pause)
        self._announce(name)

    def _announce(self, name: str) -> None:
        entry = self._running[name]
        entry.ready = True
        took = time.monotonic() - entry.process.started_at
        self._say(f"{name:8} ready after {took:4.1f} s  {addresses.without_password(entry.url)}".rstrip())
        self._remember()

    def _restart(self, name: str, entry: Running) -> None:
        """Start a dead part again on its old address, unless it keeps dying; clients of a socket that is ours wait."""
        ending = f"{name} {describe_exit(entry.process.child.returncode)}"
        now = time.monotonic()
        if not entry.ready:
            raise StackError(f"{ending} during its start{entry.process.last_words()}")
        if len(entry.restarts) == RESTARTS and now - entry.restarts[0] < RESTART_WINDOW_SECONDS:
            raise StackError(f"{ending} for the {RESTARTS + 1}th time{entry.process.last_words()}")
        self._say(f"{ending}; starting it again (log: {entry.process.command.log})")
        entry.restarts.append(now)
        entry.process.stop()  # what is left of its group
        entry.part.prepare()
        entry.process, entry.ready = Process.start(entry.part.command()), False
        self._remember()

    def _remember(self) -> None:
        """Write the state file."""
        children = [remember(name, entry.process.pid) for name, entry in self._running.items()]
        self._state.children = children
        self._state.ready = [name for name, entry in self._running.items() if entry.ready]
        self._home.write_state(self._state)

    def _reserve(self, name: str, preferred: int, host: str = ports.LOOPBACK) -> socket.socket:
        """Choose a port and keep it: as long as the stack runs, or until a part is started that binds it itself."""
        listener = self._listeners[name] = ports.reserve(preferred, host)
        port = ports.port_of(listener)
        if port != preferred:
            self._say(f"{name}: port {preferred} is taken, using {port}")
        return listener

    def _log(self, name: str) -> Path:
        return self._home.logs / f"{name}.log"
