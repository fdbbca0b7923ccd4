import contextlib
import http.client
import os
import signal
import socket
from collections.abc import Mapping
from unittest import mock
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from cli.stack import ports
from cli.stack.__main__ import main
from cli.stack.postgres import create_database
from cli.stack.process import Command, Process
from cli.stack.signals import Signals, StopRequested
from cli.stack.stack import Stack
from cli.stack.supervisor import Limits
from cli.stack.worker import WorkerOptions
from services.settings import Settings
from tests.cli.stacks import PATIENCE_SECONDS, Up, all_gone, listening, until
from tests.conftest import execute

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(600)]
AWAY = "http://127.0.0.1:9"
"""An MLflow that is not there: given, so that none is started."""


def status(url: str) -> int:
    return httpx.get(url, trust_env=False, timeout=PATIENCE_SECONDS).status_code


@pytest.fixture
def default_ports():
    """The default ports, all taken: by this test, or by a neighbour who came first and may leave one meanwhile."""
    defaults = {"postgres": 54329, "redis": 63790, "mlflow": 5000, "api": 8080}
    with contextlib.ExitStack() as servers:
        for port in defaults.values():
            with contextlib.suppress(OSError):
                servers.enter_context(ports.listen("127.0.0.1", port))
        yield defaults


USED = {"postgres": "database", "redis": "redis", "mlflow": "mlflow", "api": "api"}
"""By parts, what their addresses are of."""


def assert_told_of_ports(up: Up, default_ports: Mapping[str, int], *parts: str) -> None:
    for part in parts:
        chosen = urlsplit(up.state.addresses[USED[part]]).port
        assert (
            chosen == default_ports[part] or f"{part}: port {default_ports[part]} is taken, using {chosen}" in up.text
        )


def assert_goes_down(up: Up, number: signal.Signals, *order: str) -> None:
    """Stop a stack that prints JSON: its parts end in this order, and nothing is left of it."""
    up.output.write_text("")
    family = up.family()
    assert len(family) >= len(order)
    assert up.stop(number) == 0
    stopped = [line["message"].removeprefix("stopping ") for line in up.lines() if "stopping" in line["message"]]
    assert stopped == [*order]
    assert all_gone(family)
    assert up.home.read_state() is None
    assert not up.home.is_up()


@pytest.mark.long  # the demo's test has such a stack, and the next one much of this
def test_everything_comes_up_and_goes_down_in_order(start, default_ports):
    up = start("--json")
    up.wait_ready("postgres", "redis", "api", "worker", "mlflow")
    assert_told_of_ports(up, default_ports, *USED)
    addresses = up.state.addresses
    assert status(f"{addresses['api']}/health/ready") == 200
    assert status(f"{addresses['mlflow']}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default") == 200
    with psycopg.connect(addresses["database"].replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM worker WHERE state = 'alive'").fetchone() == (1,)

    worker = child(up, "worker")
    worker.kill()
    until(lambda: "worker was ended by SIGKILL; starting it again" in up.text, "the worker's death is told")
    until(lambda: worker.pid not in {child.pid for child in up.state.children}, "another worker")
    up.wait_ready("postgres", "redis", "api", "worker", "mlflow")
    assert_goes_down(up, signal.SIGTERM, "worker", "api", "mlflow", "redis", "postgres")


def test_a_home_has_one_stack_and_the_next_recovers_from_a_killed_one(home, start, default_ports):
    up = start("--no-worker", TWOSTREAM_MLFLOW_URL=AWAY)
    up.wait_ready("postgres", "redis")
    until(lambda: len(up.state.children) == 3, "the API is started")
    assert_told_of_ports(up, default_ports, "postgres", "redis", "api")
    second = start()
    assert second.process.wait(PATIENCE_SECONDS) == 1
    assert f"a stack is already up in {home.path} (process {up.process.pid}); hint: " in up.text
    assert home.password() not in up.text

    database = up.state.addresses["database"].replace("+psycopg", "")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    family = up.family()
    assert up.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: all_gone(family), "the kernel has ended the parts")
    again = start("--json", "--no-worker", TWOSTREAM_MLFLOW_URL=AWAY)
    again.wait_ready("api")
    with psycopg.connect(again.state.addresses["database"].replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)
    assert_goes_down(again, signal.SIGINT, "api", "redis", "postgres")


@pytest.mark.long  # the next one has a database that was given
def test_given_servers_are_used_and_not_started(start, database_url, redis_url):
    up = start(
        "--no-worker", TWOSTREAM_MLFLOW_URL=AWAY, TWOSTREAM_DATABASE_URL=database_url, TWOSTREAM_REDIS_URL=redis_url
    )
    up.wait_ready("api")
    assert [child.name for child in up.state.children] == ["api"]
    assert up.state.addresses["database"] == database_url
    assert up.stop() == 0


@pytest.mark.long  # `test_supervisor.py` starts parts again
def test_requests_wait_for_an_api_that_is_started_again_and_are_refused_once_it_is_stopped(start, database_url):
    up = start("--no-worker", TWOSTREAM_MLFLOW_URL=AWAY, TWOSTREAM_DATABASE_URL=database_url)
    up.wait_ready("api")
    assert {child.name for child in up.state.children} == {"redis", "api"}
    assert up.state.addresses["database"] == database_url
    parent, killed = psutil.Process(up.process.pid), child(up, "api")
    address = ("127.0.0.1", int(urlsplit(up.state.addresses["api"]).port or 0))
    until(lambda: listening(parent, address[1]) == {parent.pid, killed.pid}, "no other process listens")
    killed.kill()
    until(lambda: all_gone([killed]), "the API's end")
    client = http.client.HTTPConnection(*address, timeout=PATIENCE_SECONDS)
    client.request("GET", "/health/ready")
    with pytest.raises(OSError, match="in use"):
        ports.listen(*address)
    assert client.getresponse().status == http.HTTPStatus.OK
    client.close()
    assert "api was ended by SIGKILL; starting it again" in up.text
    until(lambda: listening(parent, address[1]) == {parent.pid, child(up, "api").pid}, "no other process listens")

    redis = child(up, "redis")
    redis.suspend()
    up.process.terminate()
    until(lambda: "stopping redis" in up.text, "the API has stopped, and the stack waits for a Redis that does not")
    assert not ports.answers(*address)
    with contextlib.suppress(psutil.NoSuchProcess):  # after its grace it is killed
        redis.resume()
    assert up.process.wait(PATIENCE_SECONDS) == 0


def child(up: Up, name: str) -> psutil.Process:
    """Return the present process of a part."""
    return psutil.Process(next(child.pid for child in up.state.children if child.name == name))


def test_a_stop_during_the_start_is_obeyed(home, start):
    up = start()
    until(lambda: home.read_state() is not None, "the first part is being started")
    family = up.family()
    assert up.stop() == 0
    assert "is up in" not in up.text
    assert all_gone(family)


def test_a_setting_that_is_wrong_is_named(start):
    up = start(TWOSTREAM_LEASE_SECONDS="-1")
    assert up.process.wait(PATIENCE_SECONDS) == 2
    assert "twostream: TWOSTREAM_LEASE_SECONDS: got '-1', allowed: greater than 0" in up.text


@pytest.fixture
def refused(home, monkeypatch, capsys):
    """A function that runs a stack that does not come up, in this process, and returns what it says."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
    monkeypatch.setattr(Signals, "install", lambda _signals: None)
    monkeypatch.setattr("sys.argv", ["stack", "--no-worker"])

    def run(**settings: str) -> str:
        given = {f"TWOSTREAM_{name}": value for name, value in settings.items()}
        with mock.patch.dict(os.environ, clean | given | {"TWOSTREAM_HOME": str(home.path)}, clear=True):
            assert main() == 1
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("variable", "url", "message"),
    [
        ("DATABASE_URL", "postgresql+psycopg://me:secret@127.0.0.1:9/db", "PostgreSQL does not answer at "),
        ("REDIS_URL", "redis://:secret@127.0.0.1:9/0", "Redis does not answer at "),
    ],
)
def test_a_given_server_that_is_away_is_named(refused, variable, url, message):
    said = refused(**{variable: url})
    assert f"twostream: {message}" in said
    assert f"TWOSTREAM_{variable}" in said
    assert "secret" not in said


def test_a_given_database_that_does_not_exist_is_named(refused, postgres, redis_url):
    missing = f"{postgres.rpartition('/')[0]}/missing"
    said = refused(DATABASE_URL=missing, REDIS_URL=redis_url, MLFLOW_URL=AWAY)
    assert 'database "missing" does not exist' in said


def test_a_host_that_is_not_ours_is_named(refused, database_url, redis_url):
    example = "192.0.2.1"  # of a range for examples alone (RFC 5737)
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "MLFLOW_URL": AWAY, "API_TOKEN": "token"}
    said = refused(API_HOST=example, **given)
    assert f"api: '{example}': Cannot assign requested address; hint: it is set by TWOSTREAM_API_HOST" in said


def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(refused, database_url, redis_url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        said = refused(DATABASE_URL=database_url, REDIS_URL=redis_url, MLFLOW_URL=AWAY, API_PORT=port)
    assert f"port {port} is taken; hint: it is set by TWOSTREAM_API_PORT" in said


@pytest.fixture
def killer(monkeypatch):
    """A function that has parts killed as soon as they are started, as often as it is told."""
    begin, left = Process.start, {}

    def start(command: Command) -> Process:
        process = begin(command)
        if left.get(command.name, 0) > 0:
            left[command.name] -= 1
            process.child.kill()
        return process

    monkeypatch.setattr(Process, "start", start)
    return left.update


@pytest.mark.long
def test_every_part_may_be_killed_while_it_is_started(home, killer):
    parts = ("postgres", "redis", "api", "worker", "mlflow")
    killer(dict.fromkeys(parts, 1))
    said: list[str] = []
    stack = Stack(Settings(), home, WorkerOptions(device="cpu", concurrency=1), said.append, Signals())
    try:
        stack.up()
        stack._supervisor.wait_for("mlflow")
        assert status(f"{stack.addresses['api']}/health/ready") == 200
    finally:
        stack.down()
    told = [
        line.partition(" ")[0] for line in said if "was ended by SIGKILL during its start; starting it again" in line
    ]
    assert sorted(told) == sorted(parts)


@pytest.mark.long
def test_the_stack_goes_on_without_an_mlflow_that_never_lives_and_has_it_once_it_does(home, killer):
    killer({"mlflow": 9})
    said: list[str] = []
    stack = Stack(Settings(), home, None, said.append, Signals(), Limits(first_pause_seconds=0.01))
    try:
        stack.up()
        stack._supervisor.wait_for("mlflow")
        assert status(f"{stack.addresses['mlflow']}/health") == 200
        assert status(f"{stack.addresses['api']}/health/ready") == 200
    finally:
        stack.down()
    assert len([line for line in said if "going on without MLflow" in line]) == 1


@pytest.mark.long
def test_the_stack_goes_on_without_an_mlflow_that_cannot_be_made_ready(home, database_url, redis_url):
    (home.path / "mlflow").touch()  # where its folder is to be
    said: list[str] = []
    stack = Stack(Settings(database_url=database_url, redis_url=redis_url), home, None, said.append, Signals())
    try:
        stack.up()
        assert status(f"{stack.addresses['api']}/health/ready") == 200
        assert [line for line in said if "File exists" in line and "starting it again" in line]
        (home.path / "mlflow").unlink()
        stack._supervisor.wait_for("mlflow")
    finally:
        stack.down()
        execute(database_url, "DROP DATABASE IF EXISTS test_mlflow WITH (FORCE)")


def test_a_database_that_ends_between_its_answer_and_our_question_is_asked_again(home, redis_url, monkeypatch):
    stack = Stack(Settings(redis_url=redis_url, mlflow_url=AWAY), home, None, lambda _line: None, Signals())
    killed: list[int] = []

    def upgrade(url: str) -> None:
        process = stack._supervisor.parts["postgres"].process
        if not killed:
            process.child.kill()
            process.child.wait()
            killed.append(process.pid)
        create_database(url, "asked")
        raise StopRequested

    monkeypatch.setattr("cli.stack.stack.upgrade", upgrade)
    try:
        with pytest.raises(StopRequested):
            stack.up()
        assert stack._supervisor.parts["postgres"].process.pid not in killed
    finally:
        stack.down()


@pytest.mark.parametrize("robberies", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_port_that_somebody_takes_in_the_last_moment_is_left_to_them(home, database_url, monkeypatch, robberies):
    said: list[str] = []
    begin = Process.start
    configuration = home.path / "redis" / "redis.conf"
    with contextlib.ExitStack() as thieves:

        def robbed(command: Command) -> Process:
            if command.name == "redis" and len(taken) < robberies:
                settings = dict(line.split(" ", 1) for line in configuration.read_text().splitlines())
                taken.append(int(settings["port"]))
                thieves.enter_context(ports.listen("127.0.0.1", taken[-1]))
            return begin(command)

        def stop(_url: str) -> None:
            raise StopRequested

        taken: list[int] = []
        monkeypatch.setattr(Process, "start", robbed)
        monkeypatch.setattr("cli.stack.stack.upgrade", stop)  # what comes after the servers
        stack = Stack(Settings(database_url=database_url, mlflow_url=AWAY), home, None, said.append, Signals())
        try:
            with pytest.raises(StopRequested):
                stack.up()
            redis = stack._supervisor.parts["redis"]
            assert redis.ready
            assert urlsplit(redis.url).port not in taken
        finally:
            stack.down()
    told = [line for line in said if "another program took" in line]
    assert told == [f"redis: another program took port {port}" for port in taken]
    assert len(taken) == robberies
