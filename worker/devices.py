"""Which devices this worker has, and which of them are free; asks the kernel's device files, never CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from services.errors import InvalidRequest

DEVICE_FOLDER = Path("/dev")


@dataclass(frozen=True)
class Grant:
    """Devices of one stage: ``device`` as the rank process names it, and the variables that make it so."""

    device: str
    indices: tuple[int, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        """Variables that hide every other GPU; indices go through a mask that is already set."""
        visible = visible_gpus()
        return {"CUDA_VISIBLE_DEVICES": ",".join(visible[index] for index in self.indices)}

    @property
    def name(self) -> str:
        """The devices in words, such as ``cuda:0,1`` or ``cpu``."""
        return f"cuda:{','.join(map(str, self.indices))}" if self.indices else "cpu"


class Devices:
    """The devices of one worker process, shared by its threads.

    Args:
        choice: ``auto`` takes all GPUs or else the CPU, ``cpu``, or ``cuda:N``.

    Raises:
        InvalidRequest: the choice is none of these, or there is no such GPU.
    """

    def __init__(self, choice: str) -> None:
        self._free = list(_choose(choice))
        self.names = [f"cuda:{index}" for index in self._free] or ["cpu"]
        self._has_gpus = bool(self._free)
        self.lock = Lock()

    @property
    def available(self) -> int:
        """How many processes a `gpu` stage could have now; on a CPU always one."""
        return len(self._free) if self._has_gpus else 1

    @contextmanager
    def granted(self, queue: str, count: int) -> Iterator[Grant]:
        """Lend devices to a stage; the caller holds ``lock`` since it looked at ``available``."""
        if queue == "cpu" or not self._has_gpus:
            self.lock.release()
            yield Grant("cpu")
            return
        taken = tuple(self._free[:count])
        del self._free[:count]
        self.lock.release()
        try:
            yield Grant("cuda:0", taken)
        finally:
            with self.lock:
                self._free = sorted([*self._free, *taken])


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` would list them."""
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    if mask is not None:
        return [name.strip() for name in mask.split(",") if name.strip()]
    found = [re.fullmatch(r"nvidia(\d+)", entry.name) for entry in DEVICE_FOLDER.glob("nvidia*")]
    return [str(index) for index in range(sum(match is not None for match in found))]


def _choose(choice: str) -> range | tuple[int, ...]:
    count = len(visible_gpus())
    if choice == "auto":
        return range(count)
    if choice == "cpu":
        return ()
    match = re.fullmatch(r"cuda:(\d+)", choice)
    if match is None or int(match[1]) >= count:
        known = ", ".join(["auto", "cpu", *(f"cuda:{index}" for index in range(count))])
        raise InvalidRequest("device", choice, known)
    return (int(match[1]),)
