"""All parts of one machine: started in order, watched over by a ``Supervisor``, and stopped in reverse."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cli.errors import StackError
from cli.stack import addresses, ports
from cli.stack.api import Api
from cli.stack.home import Home, State
from cli.stack.leftovers import MARK, end_leftovers, remember
from cli.stack.mlflow import Mlflow
from cli.stack.postgres import Postgres, create_database
from cli.stack.redis import Redis
from cli.stack.signals import Signals
from cli.stack.supervisor import Limits, Part, Running, Supervisor
from cli.stack.worker import CeleryWorker, WorkerOptions
from services.db.engine import Database
from services.db.migrate import upgrade
from services.errors import Unavailable
from services.journal import tracker_state
from services.settings import Settings
from services.tracking.addresses import experiments_page, runs_page

NEW_MEGABYTES = 80
"""What the databases of a new home take, MLflow's too, before anything is submitted: 76 MB were measured."""
STOP_ORDER = ("worker", "api", "mlflow", "redis", "postgres")
WITHOUT_MLFLOW = (
    "going on without MLflow, which is tried again now and then; training needs none, and what MLflow has not heard "
    "waits in the outbox"
)


class Stack:
    """The embedded stack on one home.

    Args:
        settings: what it gives is used, the rest is started.
        home: held by the caller.
        worker: what the worker serves; None starts none.
        say: prints one line for the user.
        signals: the wish to stop.
        limits: how patient it is with its parts.
    """

    def __init__(
        self,
        settings: Settings,
        home: Home,
        worker: WorkerOptions | None,
        say: Callable[[str], None],
        signals: Signals,
        limits: Limits = Limits(),
    ) -> None:
        self._settings, self._home, self._worker_options = settings, home, worker
        self._say, self._signals = say, signals
        self._supervisor = Supervisor(say, signals.pause, self._remember, limits)
        self._listeners: dict[str, socket.socket] = {}
        self._state = State(pid=os.getpid(), run=uuid.uuid4().hex)

    @property
    def addresses(self) -> dict[str, str]:
        """URL of each part, given ones too, without passwords: those stand in the private state file alone."""
        return {name: addresses.without_password(url) for name, url in self._state.addresses.items()}

    def up(self) -> None:
        """Start every part that no address was given for; MLflow is not waited for, whatever becomes of it.

        Raises:
            StackError: a part does not come up, or a given address does not answer.
            StopRequested: a stop was requested meanwhile.
        """
        end_leftovers(self._home)
        found = self._state.addresses
        found |= self._servers()
        mlflow = None if self._settings.mlflow_url else self._mlflow(found["database"])
        found["mlflow"] = mlflow.url if mlflow else str(self._settings.mlflow_url)
        self._with_database(lambda: upgrade(found["database"]))
        environment = addresses.environment(self._settings, self._home.path, self._state.run, found)
        self._start_api(environment)
        if self._worker_options is not None:
            self._start_worker(self._worker_options, environment)
        self._supervisor.wait_for("api")
        if mlflow is not None:  # the slowest, and nobody waits for it: the others have the processor first
            page = partial(runs_shown, mlflow.url, found["database"])
            self._supervisor.start(Running("mlflow", mlflow, mlflow.url, shown=page, without=WITHOUT_MLFLOW))
        self._supervisor.wait_for("worker")

    def watch(self) -> None:
        """Stay until a stop is requested; start parts again that have ended.

        Raises:
            StackError: a part that the stack needs ended too often.
            StopRequested: a stop was requested.
        """
        self._supervisor.watch()

    def down(self) -> None:
        """Stop everything: what uses a part ends before it.

        Our own sockets go first: a part keeps its port as long as it lives, and who comes later is refused at once in
        place of waiting for a part that nobody starts again.
        """
        for listener in self._listeners.values():
            listener.close()
        for name in STOP_ORDER:
            if name in self._supervisor.parts:
                self._say(f"stopping {name}")
                self._supervisor.stop(name, self._signals.hurry)
        self._home.forget_state()

    def _servers(self) -> dict[str, str]:
        """Bring up PostgreSQL and Redis side by side and return both addresses."""
        given = self._settings
        database, redis = given.database_url, given.redis_url
        if database is not None:
            addresses.require("PostgreSQL", "TWOSTREAM_DATABASE_URL", database)
        if redis is not None:
            addresses.require("Redis", "TWOSTREAM_REDIS_URL", redis)
        if redis is None:
            self._start_moving("redis", self._redis)
        if database is None:
            if not (self._home.path / "postgres" / "data").exists():
                self._say(
                    f"databases of about {NEW_MEGABYTES} MB are made below {self._home.path}; more comes as it runs"
                )
            self._start_moving("postgres", self._postgres)
            self._supervisor.wait_for("postgres")
            database = self._supervisor.parts["postgres"].url
            server = urlsplit(database)._replace(path="/postgres").geturl()
            self._with_database(lambda: create_database(server, "twostream"))
        self._supervisor.wait_for("redis")
        return {"database": database, "redis": redis or self._supervisor.parts["redis"].url}

    def _start_moving(self, name: str, make: Callable[[], tuple[Part, str]]) -> None:
        """Start a server that binds its port itself: as long as it has not answered, it may move to another."""
        part, url = make()
        self._supervisor.start(Running(name, part, url, binds=True, move=make))

    def _with_database(self, step: Callable[[], None]) -> None:
        """Do what needs the database; do it again if our own server ended meanwhile."""
        while True:
            self._supervisor.wait_for("postgres")
            ours = self._supervisor.parts.get("postgres")
            process = None if ours is None else ours.process
            try:
                step()
            except (StackError, Unavailable):
                if process is None or process.running():
                    raise
                self._supervisor.look()
            else:
                return

    def _postgres(self) -> tuple[Part, str]:
        port = self._hold("postgres", addresses.POSTGRES_PORT)
        server = Postgres(self._home.path / "postgres", port, self._home.password(), self._log("postgres"))
        return server, server.url("twostream")

    def _redis(self) -> tuple[Part, str]:
        port = self._hold("redis", addresses.REDIS_PORT)
        server = Redis(self._home.path / "redis", port, self._home.password(), self._log("redis"))
        return server, server.url

    def _mlflow(self, database: str) -> Mlflow:
        """Return MLflow on a database of its own, beside ours on the same server."""
        ours = urlsplit(database)
        name = "mlflow" if "postgres" in self._supervisor.parts else f"{ours.path.lstrip('/')}_mlflow"
        store = ours._replace(path=f"/{name}").geturl()
        listener = self._reserve("mlflow", addresses.MLFLOW_PORT)
        environment = {**os.environ, MARK: self._state.run}

        def make_store() -> None:
            create_database(database, name)

        return Mlflow(self._home.path / "mlflow", listener, store, environment, self._log("mlflow"), make_store)

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
        self._state.addresses["api"] = server.url
        self._supervisor.start(Running("api", server, server.url))

    def _start_worker(self, options: WorkerOptions, environment: Mapping[str, str]) -> None:
        token = self._settings.api_token
        worker = CeleryWorker(
            options,
            api=self._state.addresses["api"],
            token=None if token is None else token.get_secret_value(),
            grace_seconds=self._settings.grace_seconds + 15,
            env=environment,
            log=self._log("worker"),
        )
        self._supervisor.start(Running("worker", worker, ""))

    def _remember(self) -> None:
        """Write the state file."""
        parts = self._supervisor.parts
        self._state.children = [remember(name, part.process.pid) for name, part in parts.items() if part.process]
        self._state.ready = [name for name, part in parts.items() if part.ready]
        self._home.write_state(self._state)

    def _reserve(self, name: str, preferred: int, host: str = ports.LOOPBACK) -> socket.socket:
        """Choose a port and keep it as long as the stack runs."""
        listener = self._listeners[name] = ports.reserve(preferred, host)
        port = ports.port_of(listener)
        if port != preferred:
            self._say(f"{name}: port {preferred} is taken, using {port}")
        return listener

    def _hold(self, name: str, preferred: int) -> int:
        """Choose a port for a server that binds it itself, and keep the system from giving it to others."""
        if name in self._listeners:  # it has to move
            self._listeners.pop(name).close()
        with self._reserve(name, preferred) as listener:
            port = ports.port_of(listener)
        with contextlib.suppress(OSError):  # another program was faster: the server will find out
            self._listeners[name] = ports.hold(port)
        return port

    def _log(self, name: str) -> Path:
        return self._home.logs / f"{name}.log"


def runs_shown(mlflow: str, database_url: str) -> str:
    """Return where MLflow shows the runs of the dataset that came to it last, or all experiments before the first."""
    database = Database(database_url, pool_size=1)
    try:
        with database.transaction() as session:
            folders = tracker_state.folders(session)
    except Unavailable:
        return experiments_page(mlflow)
    finally:
        database.close()
    last = max(folders.values(), key=lambda id_: (len(id_), id_), default=None)
    return experiments_page(mlflow) if last is None else runs_page(mlflow, last)
