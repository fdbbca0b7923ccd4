import dataclasses
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.stack import system_user
from cli.stack.postgres import Postgres, create_database, lock_file_lines
from cli.stack.process import Process, StackError
from tests.cli.stacks import PATIENCE_SECONDS, all_gone, until


@pytest.fixture(scope="module")
def made():
    """The data of a new server, as the tests of this file begin with a copy of them."""
    folder = Path(tempfile.mkdtemp(prefix="twostream-cluster-"))
    server = Postgres(folder / "postgres", 0, "secret", folder / "postgres.log", durable=False)
    server.prepare()
    yield server.data
    shutil.rmtree(folder)


@pytest.fixture
def empty(home, port):
    """A server that has no data yet."""
    return Postgres(home.path / "postgres", port, "secret", home.path / "postgres.log", durable=False)


@pytest.fixture
def server(empty, made):
    empty.folder.mkdir()
    subprocess.run(["cp", "-a", made, empty.data], check=True)  # with their owner
    return empty


def query(url: str, statement: bytes) -> object:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        row = connection.execute(statement).fetchone()
    return row[0] if row else None


def started(server: Postgres) -> Process:
    server.prepare()
    process = Process.start(server.command())
    process.wait_until(server.healthy, PATIENCE_SECONDS)
    return process


def test_a_server_keeps_its_data_and_wants_its_password(server):
    process = started(server)
    create_database(server.url("postgres"), "twostream")
    create_database(server.url("postgres"), "twostream")  # is there already: fine
    with psycopg.connect(server.url("twostream").replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS n")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        query(server.url("twostream").replace("secret", "wrong"), b"SELECT 1")
    process.stop()
    assert process.child.returncode == 0
    process = started(server)
    assert query(server.url("twostream"), b"SELECT n FROM t") == 42
    process.stop()


def test_the_data_and_the_role_of_the_process_are_not_roots(made):
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert made.stat().st_uid != 0
    assert (made.stat().st_uid == os.geteuid()) == (os.geteuid() != 0)


def test_an_interrupted_initdb_is_begun_anew(empty):
    (empty.folder / ".data.tmp" / "base").mkdir(parents=True)
    process = started(empty)
    assert query(empty.url("postgres"), b"SELECT 1") == 1
    process.stop()


def test_a_lock_file_that_names_a_stranger_does_not_stop_the_start(server):
    server.prepare()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as stranger:
        content = f"{stranger.pid}\n{server.data}\n1\n{server.port}\n\n127.0.0.1\n1 1\nready\n"
        (server.data / "postmaster.pid").write_text(content)
        process = started(server)
        assert lock_file_lines(server.data)[0] == str(process.pid)
        process.stop()
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("killed", [signal.SIGKILL, None], ids=["killed", "still running"])
def test_a_server_that_an_earlier_run_left_is_ended_and_recovered(server, killed):
    server = dataclasses.replace(server, durable=True)
    leftover = started(server)
    with psycopg.connect(server.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE t AS SELECT 7 AS n")
    family = [psutil.Process(leftover.pid), *psutil.Process(leftover.pid).children(recursive=True)]
    if killed:
        leftover.child.send_signal(killed)
        leftover.child.wait()
    process = started(server)
    until(lambda: all_gone(family), "the end of the earlier server")
    leftover.child.wait()
    assert query(server.url("postgres"), b"SELECT n FROM t") == 7
    process.stop()


def test_a_database_that_cannot_be_made_names_the_server_without_its_password(port):
    url = f"postgresql+psycopg://somebody:secret@127.0.0.1:{port}/postgres"
    with pytest.raises(StackError, match="createdb mlflow at postgresql://somebody@127") as error:
        create_database(url, "mlflow")
    assert "secret" not in str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root opens folders for the server's user")
def test_folders_are_opened_for_passing_through_alone(tmp_path):
    private = tmp_path / "private"
    (private / "inner").mkdir(parents=True, mode=0o700)
    private.chmod(0o700)
    system_user.make_reachable(private / "inner")
    assert stat.S_IMODE(private.stat().st_mode) == 0o701


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("useradd") is None, reason="only root makes the server's user")
def test_processes_that_need_the_same_new_user_agree_on_its_uid():
    name = f"ts-{os.getpid()}"
    words = "import sys; from cli.stack import system_user as s; s.NAME = sys.argv[1]; sys.stdin.read(1)"
    command = [sys.executable, "-c", f"{words}; print(s.server_user())", name]
    together = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    try:
        for process in together:
            process.stdin.write("\n")
            process.stdin.flush()
        said = {process.communicate(timeout=PATIENCE_SECONDS)[0].strip() for process in together}
        entry = pwd.getpwnam(name)
        assert said == {str((entry.pw_uid, entry.pw_gid))}
    finally:
        for process in together:
            process.kill()
        subprocess.run(["userdel", name], check=True)
