"""Processes of an earlier run that was killed: found by id and start time, or by the run's mark, and ended.

The kernel ends the direct children of a killed `up`; here go those that escaped it. No stranger is ever touched.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal

import psutil

from cli.stack.home import Child, Home, State

MARK = "TWOSTREAM_STACK"
"""Environment variable that every process of a run inherits; its value is the run's id."""
SAME_START_SECONDS = 1.0
GRACE_SECONDS = 10.0

logger = logging.getLogger(__name__)


def remember(name: str, pid: int) -> Child:
    """Describe a process that runs now, or has just ended."""
    try:
        return Child(name, pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return Child(name, pid, 0.0)


def end_leftovers(home: Home) -> None:
    """End what the last run in this home left behind; call while holding the home."""
    state = home.read_state()
    if state is None:
        return
    left = [process for process in psutil.process_iter() if _belongs(process, state)]
    if left:
        logger.warning("ending processes of an earlier run: %s", ", ".join(str(process.pid) for process in left))
    end(left, signal.SIGTERM)
    home.forget_state()


def family(pid: int) -> list[psutil.Process]:
    """Return the descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def end(processes: list[psutil.Process], wish: signal.Signals) -> None:
    """Ask processes to end, wait, and kill those that do not."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            process.send_signal(wish)
    _, alive = psutil.wait_procs(processes, timeout=GRACE_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _belongs(process: psutil.Process, state: State) -> bool:
    """Say whether a process is a recorded child with the recorded start, or carries the run's mark."""
    try:
        created = process.create_time()
        if any(
            child.pid == process.pid and abs(child.created - created) < SAME_START_SECONDS for child in state.children
        ):
            return True
        return bool(process.uids().real == os.getuid() and process.environ().get(MARK) == state.run)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
