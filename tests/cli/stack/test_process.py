import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from cli.stack.process import Command, Process, StackError, describe_exit, run
from tests.cli.stacks import PATIENCE_SECONDS, gone, until

SLEEP = "import time; time.sleep(600)"
"""A part that runs until it is ended."""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
WITH_CHILD = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(600)"


def python(tmp_path: Path, *arguments: str, **options: object) -> Command:
    return Command("part", (sys.executable, "-c", *arguments), tmp_path / "logs" / "part.log", **options)  # type: ignore[arg-type]


def said(process: Process) -> str:
    until(lambda: process.command.log.read_text().strip(), "a line in the log")
    return process.command.log.read_text().strip()


def test_output_goes_to_the_log_and_the_process_leads_a_session_of_its_own(tmp_path):
    process = Process.start(python(tmp_path, "import os; print(os.getsid(0) == os.getpid())"))
    assert process.child.wait(PATIENCE_SECONDS) == 0
    assert said(process) == "True"


def test_stop_asks_first(tmp_path):
    process = Process.start(python(tmp_path, SLEEP))
    process.stop()
    assert process.child.returncode == -signal.SIGTERM


@pytest.mark.parametrize("hurried", [False, True])
def test_stop_kills_what_does_not_listen(tmp_path, hurried):
    process = Process.start(python(tmp_path, DEAF, grace_seconds=600 if hurried else 0.2))
    said(process)
    process.stop(lambda: hurried)
    assert process.child.returncode == -signal.SIGKILL


def test_stop_ends_what_the_leader_left_in_its_group(tmp_path):
    process = Process.start(python(tmp_path, WITH_CHILD, sys.executable, "-c", SLEEP))
    child = psutil.Process(int(said(process)))
    process.stop()
    until(lambda: gone(child), "the grandchild's end")


def test_the_kernel_ends_a_child_whose_parent_is_killed(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from cli.stack.process import Command, Process;"
        f"p = Process.start(Command('part', (sys.executable, '-c', {SLEEP!r}), Path({str(tmp_path)!r}) / 'log'));"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        until(lambda: "time.sleep" in " ".join(child.cmdline()[-1:]), "the launcher has become the program")
        parent.kill()
    until(lambda: gone(child), "the child's end")


def test_waiting_ends_when_the_part_answers(tmp_path):
    process = Process.start(python(tmp_path, SLEEP))
    asked: list[int] = []
    process.wait_until(lambda pid: asked.append(pid) or len(asked) > 2, PATIENCE_SECONDS)  # type: ignore[func-returns-value]
    assert asked == [process.pid] * 3
    process.stop()


def test_a_part_that_ends_is_named_with_its_last_words(tmp_path):
    process = Process.start(python(tmp_path, "import sys; sys.exit('the disk is full')"))
    with pytest.raises(StackError, match=r"part exited with code 1 during its start\n.*part\.log\n  the disk is full"):
        process.wait_until(lambda _pid: False, PATIENCE_SECONDS)


def test_a_part_that_stays_silent_is_named_with_its_deadline(tmp_path):
    process = Process.start(python(tmp_path, SLEEP))
    with pytest.raises(StackError, match="part does not answer after 0 s"):
        process.wait_until(lambda _pid: False, 0.05)
    process.stop()


def test_a_program_that_is_missing_is_named(tmp_path):
    with pytest.raises(StackError, match="part: program not found: /nowhere/program"):
        Process.start(Command("part", ("/nowhere/program",), tmp_path / "log"))


def test_run_returns_output_and_exit_code(tmp_path):
    done = run(python(tmp_path, "print(input()); raise SystemExit(3)"), stdin=b"hello")
    assert (done.returncode, done.stdout) == (3, b"hello\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_command_runs_as_its_user_without_our_groups(tmp_path):
    command = python(tmp_path, "import os; print(os.getuid(), os.getgid(), os.getgroups())", user=(65534, 65534))
    program = Command("part", ("/bin/sh", "-c", "id -u; id -g; id -G"), command.log, user=(65534, 65534))
    assert run(program).stdout == b"65534\n65534\n65534\n"


@pytest.mark.parametrize(
    ("code", "words"), [(None, "is running"), (0, "exited with code 0"), (-9, "was ended by SIGKILL")]
)
def test_ends_in_words(code, words):
    assert describe_exit(code) == words
