"""Which devices this worker has, and which of them are free; asks the kernel's device files, never CUDA."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
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
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}

    @property
    def gpus(self) -> tuple[str, ...]:
        """The names of its GPUs, as `CUDA_VISIBLE_DEVICES` has them."""
        visible = visible_gpus()
        return tuple(visible[index] for index in self.indices)

    @property
    def name(self) -> str:
        """The devices in words, such as ``cuda:0,1`` or ``cpu``."""
        return f"cuda:{','.join(map(str, self.indices))}" if self.indices else "cpu"


class Devices:
    """The slots and devices of one worker process, shared by its threads, who hold ``lock`` while they choose.

    Where a worker serves both queues and has GPUs, stages of queue ``cpu`` leave a slot for each GPU: long ones would
    hold every slot, and the GPUs would idle.

    Args:
        choice: ``auto`` takes all GPUs or else the CPU, ``cpu``, or ``cuda:N``.
        queues: that the worker serves.
        concurrency: stages that it runs at once.

    Raises:
        InvalidRequest: the choice is none of these, or there is no such GPU.
    """

    def __init__(self, choice: str, queues: Sequence[str] = ("cpu", "gpu"), concurrency: int = 1) -> None:
        self._free = list(_choose(choice))
        self.names = [f"cuda:{index}" for index in self._free] or ["cpu"]
        self._has_gpus = bool(self._free)
        self.gpus = Grant("cuda:0", tuple(self._free)).gpus
        self._queues = tuple(queues)
        reserved = len(self._free) if "gpu" in self._queues else 0
        self._cpu_slots = max(1, concurrency - reserved)
        self.lock = Lock()

    @property
    def available(self) -> int:
        """How many processes a `gpu` stage could have now; on a CPU always one."""
        return len(self._free) if self._has_gpus else 1

    def open_queues(self) -> list[str]:
        """Return the queues of which a stage could run now."""
        free = {"cpu": self._cpu_slots > 0 or not self._has_gpus, "gpu": self.available > 0}
        return [name for name in self._queues if free[name]]

    def take(self, queue: str, count: int) -> Grant:
        """Lend a stage of a queue its slot and devices."""
        if queue == "cpu":
            self._cpu_slots -= 1
            return Grant("cpu")
        if not self._has_gpus:
            return Grant("cpu")
        taken = tuple(self._free[:count])
        del self._free[:count]
        return Grant("cuda:0", taken)

    def give_back(self, queue: str, grant: Grant) -> None:
        """Take back what a stage of a queue was lent."""
        with self.lock:
            if queue == "cpu":
                self._cpu_slots += 1
            self._free = sorted([*self._free, *grant.indices])


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
