"""How much memory a device has left."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")


def free_bytes(device: torch.device) -> int:
    """Return how many bytes can still be allocated on a device.

    Of a GPU: what its driver has left, and what PyTorch holds of it without using it. Of a processor: what Linux calls
    available, caches that it can drop included. 0 where the system does not report it.
    """
    if device.type == "cuda":
        left, _ = torch.cuda.mem_get_info(device)
        return left + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if not MEMINFO.exists():
        return 0
    kibibytes = dict(line.split(":") for line in MEMINFO.read_text(encoding="ascii").splitlines())["MemAvailable"]
    return int(kibibytes.removesuffix("kB")) * 1024
