import os
import stat
import subprocess
import sys

import psutil
import pytest

from cli.stack.home import FOLDERS, Child, Home, State
from cli.stack.leftovers import MARK, end_leftovers, remember
from cli.stack.process import StackError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_home_is_held_once_and_names_its_owner(home):
    assert not home.is_up()
    with home.held():
        assert home.is_up()
        with (
            pytest.raises(StackError, match=rf"already up in {home.path} \(process \d+\); hint: "),
            Home(home.path).held(),
        ):
            pytest.fail("held twice")
    assert not home.is_up()
    with home.held():
        assert home.is_up()


def test_a_home_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(StackError, match=f"TWOSTREAM_HOME {tmp_path}/file/home: "),
        Home(tmp_path / "file" / "home").held(),
    ):
        pytest.fail("made below a file")


def test_a_new_home_and_its_secrets_are_private(tmp_path):
    home = Home(tmp_path / "home")
    with home.held():
        password = home.password()
        home.write_state(State(pid=1, run="run", children=[Child("api", 2, 3.0)], ready=["api"]))
    assert len(password) >= 32
    assert home.password() == password
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (home.path, home.path / "password", home.state_file)]
    assert modes == [0o700, 0o600, 0o600]


def test_state_is_read_as_it_was_written(home):
    state = State(1, "run", {"api": "http://a"}, ["api"], [Child("api", 2, 3.0)])
    home.write_state(state)
    assert home.read_state() == state
    home.forget_state()
    assert home.read_state() is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"pid": 1}', '{"children": [{"pid": 1}]}', '{"children": []}']
)
def test_a_state_that_a_power_cut_spoilt_is_taken_for_none(home, content, caplog):
    home.state_file.write_text(content)
    assert home.read_state() is None
    assert str(home.state_file) in caplog.text
    end_leftovers(home)


def test_leftovers_end_and_strangers_stay(home):
    recorded = subprocess.Popen(SLEEP)
    marked = subprocess.Popen(SLEEP, env={MARK: "this run"})
    other_run = subprocess.Popen(SLEEP, env={MARK: "another run"})
    same_id_as_an_old_child = subprocess.Popen(SLEEP)
    reborn = Child("redis", same_id_as_an_old_child.pid, psutil.Process().create_time() - 3600)
    home.write_state(State(1, "this run", children=[remember("api", recorded.pid), reborn]))
    try:
        end_leftovers(home)
        assert recorded.poll() is not None
        assert marked.poll() is not None
        assert other_run.poll() is None
        assert same_id_as_an_old_child.poll() is None
        assert home.read_state() is None
    finally:
        for process in (recorded, marked, other_run, same_id_as_an_old_child):
            process.kill()
            process.wait()


def test_nothing_is_left_where_nothing_ran(home):
    end_leftovers(home)
    assert not home.state_file.exists()


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o711, 0o700])
def test_the_folders_of_a_home_are_private_whatever_the_homes_own_mode(tmp_path, mode):
    home = Home(tmp_path / "home")
    home.path.mkdir()
    for name in ("logs", "artifacts"):  # of an earlier version
        (home.path / name).mkdir(mode=0o777)
    home.path.chmod(mode)
    with home.held():
        found = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in home.path.iterdir() if folder.is_dir()}
    assert set(found) == set(FOLDERS)
    assert set(found.values()) == {0o700}
    assert stat.S_IMODE(home.path.stat().st_mode) == mode


def test_a_secret_is_private_though_an_earlier_run_left_its_draft_open(home):
    for name in (f".stack.json.{os.getpid()}.tmp", f".password.{os.getpid()}.tmp"):
        (home.path / name).touch()
        (home.path / name).chmod(0o644)
    home.password()
    home.write_state(State(pid=1, run="run"))
    for file in (home.path / "password", home.state_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_that_is_no_folder_is_named(home):
    (home.path / "logs").touch()
    with pytest.raises(StackError, match=rf"TWOSTREAM_HOME {home.path}/logs: File exists"), home.held():
        pytest.fail("made over a file")
