"""Whether a stage still does anything: real processes that sleep, compute, and have children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.worker.conftest import Until
from worker.host import stillness
from worker.host.stillness import LOOK_SECONDS, Stillness, family, processor_seconds

SLEEP = "import time; print(flush=True); time.sleep(300)"
COMPUTE = "print(flush=True)\nwhile True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEP!r}])"


@contextmanager
def running(code: str) -> Iterator[int]:
    """Run a program, and lend its process id once it, or its child, has begun."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    (tmp_path / "events.jsonl").touch()
    return tmp_path / "events.jsonl"


def test_a_process_that_sleeps_is_still_until_it_writes_an_event(events: Path, until: Until) -> None:
    with running(SLEEP) as pid:
        watched = Stillness(pid, events)
        until(lambda: watched.seconds() > LOOK_SECONDS)
        events.write_text("{}\n")
        until(lambda: watched.seconds() < LOOK_SECONDS)


def test_a_process_that_computes_is_not_still(events: Path, until: Until) -> None:
    with running(COMPUTE) as pid:
        watched = Stillness(pid, events)
        until(lambda: processor_seconds(pid) > 2 * LOOK_SECONDS)  # a sleeper would have been still for as long
        assert watched.seconds() < LOOK_SECONDS


@pytest.mark.parametrize("told", [True, False], ids=["told by the kernel", "found among all"])
def test_descendants_belong_to_a_stage(
    gone: Callable[[int], bool], until: Until, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if told and not stillness.TELLS_CHILDREN:
        pytest.skip("this kernel does not list children")
    monkeypatch.setattr(stillness, "TELLS_CHILDREN", told)
    with running(PARENT) as pid:
        found = family(pid)
        assert found[0] == pid
        assert len(found) == 2
    until(lambda: all(gone(member) for member in found))
    assert processor_seconds(found[0]) == 0.0
