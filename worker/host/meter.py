"""Measures what the processes of a stage use, in a thread of its own: a driver that hangs holds up no supervision."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psutil

from services.loops import Loop
from services.queue.attempts import Usage
from services.queue.curve import Recorder, Sample
from worker.host import gpus
from worker.host.stillness import family

FIRST_SECONDS = 0.2
"""Before the first look, for stages that are over soon."""
EVERY_SECONDS, LONGEST_SECONDS = 1.0, 10.0
"""Between two looks, at first and at the most: half of the spacing of the curves, which grows with the stage."""


TICK_SECONDS = 0.01
"""The kernel counts processor time in such steps."""


class Meter:
    """Measures while its ``with`` block runs.

    Args:
        pid: the leader of the stage's processes.
        names: of the GPUs that the stage holds, as ``CUDA_VISIBLE_DEVICES`` has them.
    """

    def __init__(self, pid: int, names: Sequence[str] = ()) -> None:
        self._pid, self._names = pid, names
        self._began_at = self._looked_at = time.monotonic()
        self._recorder, self._lock = Recorder(), threading.Lock()
        self._cpu_seconds = 0.0
        self._loop = Loop("meter", self.look, EVERY_SECONDS, FIRST_SECONDS)

    def __enter__(self) -> Self:
        with contextlib.suppress(RuntimeError):  # a host without room for a thread: nothing is measured
            self._loop.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.stop(timeout=0)  # a look that hangs is left behind

    def usage(self) -> Usage:
        """Return what was used so far."""
        with self._lock:
            curves = self._recorder.kept()
        return Usage() if curves is None else Usage(cpu_seconds=round(self._cpu_seconds, 2), curves=curves)

    def look(self) -> float:
        """Measure once, and return in how many seconds to do so again."""
        processes = _family(self._pid)
        readings = gpus.read(self._names)
        now, cpu_seconds = time.monotonic(), sum(map(_cpu_seconds, processes))
        if cpu_seconds > 0:  # none has ended yet
            seconds = now - self._looked_at if self._cpu_seconds else _age(processes)
            gained = max(0.0, cpu_seconds - self._cpu_seconds)  # the time of one that nobody waited for goes with it
            sample = Sample(
                cpu=gained / max(seconds, TICK_SECONDS),
                memory_bytes=sum(map(_memory_bytes, processes)),
                gpu=gpus.busy(readings),
                gpu_memory_bytes=gpus.memory_bytes(readings, [process.pid for process in processes]),
            )
            self._looked_at, self._cpu_seconds = now, self._cpu_seconds + gained
            with self._lock:
                self._recorder.add(now - self._began_at, sample)
        return min(max(EVERY_SECONDS, self._recorder.spacing / 2), LONGEST_SECONDS)


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants, as far as they are there."""
    found = []
    for member in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(member))
    return found


def _age(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds since the first of some processes began: it may have computed before anyone looked."""
    with contextlib.suppress(psutil.Error, IndexError):
        return time.time() - processes[0].create_time()
    return EVERY_SECONDS


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and of those of its children that have ended."""
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _memory_bytes(process: psutil.Process) -> int:
    """Return the memory of a process, where a page that n processes share counts as an n-th of it."""
    with contextlib.suppress(psutil.Error, OSError):
        return int(process.memory_full_info().pss)
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
