"""Homes that PostgreSQL's system user can reach, stacks as real processes, and the command with a real API."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from cli.main import main
from cli.stack import ports
from cli.stack.api import Api
from cli.stack.home import Home
from services import registry
from services.db.engine import Database
from tests.cli.stacks import Up
from tests.parts import running

MIGRATIONS, VERSIONS = "alembic_version", "board_version"
"""The table that says which migrations were made, and the one by whose numbers an API knows what it has kept."""
ALL_CHANGED = f"UPDATE {VERSIONS} SET number = number + 1, whole = number + 1, version = gen_random_uuid()"


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home. Not below pytest's own folder: that one is private, and as root PostgreSQL is another user."""
    folder = Path(tempfile.mkdtemp(prefix="twostream-home-"))
    yield Home(folder)
    shutil.rmtree(folder)


@pytest.fixture
def start(home: Home) -> Iterator[Callable[..., Up]]:
    """A function that starts a stack in this test's home; what still runs at the end is stopped."""
    started: list[Up] = []

    def run(*arguments: str, **environment: str) -> Up:
        started.append(Up(home, environment, arguments))
        return started[-1]

    yield run
    for up in started:
        if up.process.poll() is None:
            up.stop()


@pytest.fixture(scope="session")
def api_database(migrated_database):
    """The database of the API, as the last file of tests left it."""
    database = Database(migrated_database())
    yield database
    database.close()


@pytest.fixture(scope="session")
def api_home(tmp_path_factory):
    """The home of the API, in which it has its artifacts."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def api_process(servers, api_home, api_database, redis_server):
    """A real API process, with Redis' second database, which no other test looks into."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
    given = {
        "TWOSTREAM_DATABASE_URL": api_database.engine.url.render_as_string(hide_password=False),
        "TWOSTREAM_REDIS_URL": f"{redis_server.removesuffix('/0')}/1",
        "TWOSTREAM_HOME": str(api_home),
    }
    with ports.listen(ports.LOOPBACK, 0) as listener:
        server = Api(listener, clean | given, servers / "api.log")
        with running(server):
            yield server


@pytest.fixture(scope="module")
def database(api_database, api_home):
    """The database of the API, with what a new one has: the generated dataset. Nothing is in the store."""
    api_database.run(_empty)
    for left in (api_home / "artifacts").glob("*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return api_database


def _empty(session):
    tables = session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
    session.execute(text(f"TRUNCATE {', '.join(set(tables) - {MIGRATIONS, VERSIONS})}"))
    session.execute(text(ALL_CHANGED))
    registry.add_generated(session)


@pytest.fixture(scope="module")
def api(database, api_process):
    """Base URL of a real API process over a database that is new to this file."""
    return api_process.url


@pytest.fixture
def twostream(api, monkeypatch, capsys, tmp_path):
    """A function that runs the command and returns exit code, standard output and standard error."""
    monkeypatch.setenv("TWOSTREAM_API_URL", api)
    monkeypatch.setenv("TWOSTREAM_HOME", str(tmp_path / "home"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


SPEC = """
name: small
dataset: motion_shapes
splits: [1]
streams: [rgb]
backbone: {name: tiny, finetune: null}
"""


SEEDS = itertools.count()
"""One for each spec, so that its stages are not those of an earlier test."""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(f"{SPEC}seeds: [{next(SEEDS)}]\n")
    return str(path)


@pytest.fixture
def submitted(twostream, spec):
    code, out, _ = twostream("submit", spec)
    assert code == 0
    return out.strip()
