"""Tells whether a stage still does anything: whether it wrote an event, or its processes took processor time."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from worker.contract import DUMP_SIGNAL

PROC = Path("/proc")
LOOK_SECONDS = 2.0
"""Between two looks at the processes."""
BUSY_SHARE = 0.02
"""Of one core: a process that takes less since it was last seen to move only wakes up now and then."""
TELLS_CHILDREN = (PROC / "self" / "task" / str(os.getpid()) / "children").exists()
"""Whether the kernel lists the children of a process; else all processes are looked through."""
TICKS = os.sysconf("SC_CLK_TCK")


class Stillness:
    """Watches one stage.

    Args:
        pid: the leader of the stage's processes.
        events: the file of its events.
    """

    def __init__(self, pid: int, events: Path) -> None:
        self._pid, self._events = pid, events
        self._moved_at, self._looked_at = time.monotonic(), 0.0
        self._seconds, self._size = 0.0, 0

    def seconds(self) -> float:
        """Return for how long the stage has done nothing."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look(now)
        return now - self._moved_at

    def dump(self) -> None:
        """Have every process of the stage that can do so write its stacks to the log."""
        for pid in family(self._pid):
            if _catches(pid, DUMP_SIGNAL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, DUMP_SIGNAL)

    def _look(self, now: float) -> None:
        seconds = sum(processor_seconds(pid) for pid in family(self._pid))
        with contextlib.suppress(OSError):
            size = self._events.stat().st_size
            if size != self._size:
                self._size, self._moved_at, self._seconds = size, now, seconds
        taken = seconds - self._seconds  # less than nothing when a process has ended, whose time went with it
        if taken < 0 or taken > max(BUSY_SHARE * (now - self._moved_at), 2 / TICKS):
            self._moved_at, self._seconds = now, seconds


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children_of = _children if TELLS_CHILDREN else _all_children().__getitem__
    found = [pid]
    for member in found:
        found += children_of(member)
    return found


def _children(pid: int) -> list[int]:
    """Return the children of a process, as its threads have them; none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in (PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
                found += map(int, (thread / "children").read_text().split())
    return found


def _all_children() -> Mapping[int, list[int]]:
    """Return the children of every process, by a look at all of them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            facts = _facts(int(entry.name))
            if facts:
                children[int(facts[1])].append(int(entry.name))
    return children


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process and its ended children took, 0 if it is gone."""
    facts = _facts(pid)
    return sum(int(value) for value in facts[11:15]) / TICKS if facts else 0.0


def _facts(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` after the name: state, parent, and so on; none if it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def _catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal, which would end it otherwise."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
    return False
