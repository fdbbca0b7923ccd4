"""What GPUs do, asked of NVIDIA's management library, which opens no context of CUDA on them.

Whatever is wrong with the library, the driver or a GPU costs a number and nothing else: it is None then.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple

import pynvml

logger = logging.getLogger(__name__)


class Reading(NamedTuple):
    """What a GPU does at one moment; None where it does not say.

    Attributes:
        busy: part of the time, up to the last second, in which it computed, 0 to 1.
        memory_bytes: that is taken, by whomever.
        total_bytes: that it has.
        by_process: bytes that each process takes, by its id, as far as the driver tells them apart.
    """

    busy: float | None = None
    memory_bytes: int | None = None
    total_bytes: int | None = None
    by_process: dict[int, int] = {}  # noqa: RUF012 - never changed


def read(names: Sequence[str]) -> list[Reading]:
    """Read GPUs by their names in ``CUDA_VISIBLE_DEVICES``: numbers in the order of the bus, or ids."""
    return [_read(name) for name in names] if names and _ready() else [Reading() for _ in names]


def busy(readings: Sequence[Reading]) -> float | None:
    """Return the mean over GPUs."""
    known = [reading.busy for reading in readings if reading.busy is not None]
    return fmean(known) if known else None


def memory_bytes(readings: Sequence[Reading], processes: Collection[int]) -> int | None:
    """Return what some processes take of GPUs; all that is taken of those whose driver does not know the processes."""
    taken = [
        sum(reading.by_process.get(pid, 0) for pid in processes) or reading.memory_bytes
        for reading in readings
        if reading.memory_bytes is not None
    ]
    return sum(number for number in taken if number is not None) if taken else None


@cache
def _ready() -> bool:
    """Load the library, once for each process."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        logger.warning("what GPUs do is not known: %s", error)
        return False
    return True


def _read(name: str) -> Reading:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdecimal() else _by_id(name)
    except pynvml.NVMLError:
        return Reading()
    rates = _asked(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = _asked(pynvml.nvmlDeviceGetMemoryInfo, handle)
    processes = _asked(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
    return Reading(
        None if rates is None else rates.gpu / 100,
        None if memory is None else int(memory.used),
        None if memory is None else int(memory.total),
        {process.pid: process.usedGpuMemory for process in processes if process.usedGpuMemory is not None},
    )


def _by_id(name: str) -> Any:
    return pynvml.nvmlDeviceGetHandleByUUID(name)


def _asked(question: Any, handle: Any) -> Any:
    """Ask a GPU; None where it does not know, such as how busy a part of one is."""
    try:
        return question(handle)
    except pynvml.NVMLError:
        return None
