"""Real servers for the tests: one PostgreSQL and one Redis for each pytest process, emptied between tests."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec
import hypothesis
import psycopg
import pytest
import redis
import time_machine

from cli.stack.ports import LOOPBACK
from cli.stack.postgres import Postgres
from cli.stack.redis import Redis
from services.db.migrate import upgrade
from services.proxies import spare_local
from tests.databases import NAME, Reused
from tests.parts import running
from tests.ports import reserved

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is loaded: the tests share their cores
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")  # the same examples each time, however busy the machine is
FOREIGN = (
    "TWOSTREAM_",
    "PG",
    "AWS_",
    "MLFLOW_",
    "GIT_",
    "MAKE",
    "MFLAGS",
    "COLUMNS",
    "LINES",
    "FORCE_COLOR",
    "NO_COLOR",
)
"""How those variables begin by which who runs the tests sets our programs, their servers, and what they print."""
for variable in [name for name in os.environ if name.startswith(FOREIGN)]:
    del os.environ[variable]
spare_local()
for variable, folder in (("XDG_CACHE_HOME", ".cache"), ("XDG_CONFIG_HOME", ".config")):
    os.environ.setdefault(variable, str(Path.home() / folder))  # where programs find what they keep, and mirrors
HOME = tempfile.mkdtemp(prefix="twostream-user-")
"""Of the tests and of all that they start: who runs them has a ``~/.twostream`` that may be in use."""
os.environ["HOME"] = HOME
PASSWORD = "test"
TEMPLATE = "template_twostream"
BUCKETS = itertools.count()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(HOME)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each file to one worker, which makes its servers once, and groups that are named, which take long, first:
    the last to end shall be a short one."""
    named = {item for item in items if item.get_closest_marker("xdist_group") is not None}
    items.sort(key=lambda item: item not in named)
    for item in items[len(named) :]:
        item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Let each worker collect by another clock, an hour apart: a test whose name holds the time fails in every run, not
    when a second happens to end between two workers."""
    hours = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)):
        return (yield)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: a file that is made as tests are collected may hold the time."""
    return argname if isinstance(val, bytes) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that the tests of this run have asserted: the networks' parameter counts, 101 classes, what was
    tried against the API, what schemathesis sums up, what of
    the papers can be launched, and how far bundles are from score files."""
    passed = terminalreporter.stats.get("passed", ())
    for table in ("parameters", "recipes", "papers", "security", "schemathesis", "families"):
        rows = sorted(value for report in passed for name, value in report.user_properties if name == table)
        if rows:
            terminalreporter.section(table)
            terminalreporter.write_line("\n".join(rows))


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Have each test draw the same weights and features, in whatever order the tests run."""
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        seed = torch.manual_seed if torch.cuda.is_initialized() else torch.default_generator.manual_seed  # 2 ms less
        seed(0)


@pytest.fixture(scope="session")
def s3() -> Iterator[Mapping[str, str]]:
    """The variables that lead to an object store that speaks S3 over HTTP."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415 - 1.6 s, and few tests need it

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell each request
    server = ThreadedMotoServer(LOOPBACK, 0)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.stop()


@pytest.fixture(params=["folder", "memory", "s3"])
def store_root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Root of an artifact store: a folder, and file systems that are not this machine's; empty."""
    if request.param == "folder":
        return str(tmp_path / "store")
    if request.param == "s3":
        for name, value in request.getfixturevalue("s3").items():
            monkeypatch.setenv(name, value)
        bucket = f"bucket-{next(BUCKETS)}"
        fsspec.filesystem("s3").mkdir(bucket)
        return f"s3://{bucket}/twostream"
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    return "memory://twostream"


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this test alone, at which nobody listens until the test does."""
    with reserved() as port:
        yield port


@pytest.fixture(scope="session")
def servers() -> Iterator[Path]:
    """Folder of the session's servers. Not below pytest's own: that one is private, and as root PostgreSQL runs as
    another user, who must pass through."""
    folder = Path(tempfile.mkdtemp(prefix="twostream-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(servers: Path) -> Iterator[str]:
    """URL of the maintenance database of a real PostgreSQL server, shared by the tests of this process."""
    with reserved() as port:
        server = Postgres(servers / "postgres", port, PASSWORD, servers / "postgres.log", durable=False)
        with running(server):
            yield server.url("postgres")


@pytest.fixture(scope="session")
def empty_database(postgres: str) -> Iterator[Callable[[], str]]:
    """A function that makes a database without tables and returns its URL."""
    numbers = itertools.count()

    def create() -> str:
        name = f"empty_{next(numbers)}"
        execute(postgres, f"CREATE DATABASE {name}")
        return database_named(postgres, name)

    yield create
    for number in range(next(numbers)):
        execute(postgres, f"DROP DATABASE empty_{number} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a database that went through every migration, from which others are copied."""
    execute(postgres, f"CREATE DATABASE {TEMPLATE}")
    upgrade(database_named(postgres, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def migrated_database(postgres: str, migrated_template: str) -> Iterator[Callable[[], str]]:
    """A function that makes a database with this code's tables, and returns its URL."""
    numbers = itertools.count()

    def create() -> str:
        name = f"migrated_{next(numbers)}"
        execute(postgres, f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY file_copy")
        return database_named(postgres, name)

    yield create
    for number in range(next(numbers)):
        execute(postgres, f"DROP DATABASE migrated_{number} WITH (FORCE)")


@pytest.fixture(scope="session")
def reused(postgres: str, migrated_template: str) -> Reused:
    """The database that tests have one after the other."""
    return Reused(postgres.replace("+psycopg", "", 1), migrated_template)


@pytest.fixture
def database_url(postgres: str, reused: Reused) -> Iterator[str]:
    """URL of an empty, migrated database that this test has to itself."""
    reused.lend()
    yield database_named(postgres, NAME)
    reused.take_back()


@pytest.fixture(scope="session")
def redis_server(servers: Path) -> Iterator[str]:
    """URL of a real Redis server, shared by the tests of this process."""
    with reserved() as port:
        server = Redis(servers / "redis", port, PASSWORD, servers / "redis.log", durable=False)
        with running(server):
            yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


def database_named(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return f"{url.rpartition('/')[0]}/{name}"


def execute(url: str, statement: str) -> None:
    """Run one statement outside a transaction."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(statement.encode())
