"""What the machine of a worker does: processors, memory and GPUs, whoever uses them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psutil

from worker.host import gpus


class Machine:
    """Looks at the host now and then.

    Args:
        names: of the worker's GPUs, as ``CUDA_VISIBLE_DEVICES`` has them.

    Attributes:
        use: what was seen last; None before the first look. It is replaced, never changed.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self.use: dict[str, Any] | None = None
        psutil.cpu_percent()  # the next call measures from here

    def look(self) -> None:
        """Measure the time since the last look."""
        memory = psutil.virtual_memory()
        self.use = {
            "cpu": round(psutil.cpu_percent() / 100, 3),
            "cores": psutil.cpu_count() or 1,
            "memory_bytes": int(memory.total - memory.available),
            "memory_total_bytes": int(memory.total),
            "gpus": [
                {
                    "name": f"cuda:{place}",
                    "busy": reading.busy,
                    "memory_bytes": reading.memory_bytes,
                    "memory_total_bytes": reading.total_bytes,
                }
                for place, reading in enumerate(gpus.read(self._names))
            ],
        }
