"""In what a stage runs on this host: code, libraries, processor, GPUs and their driver; no library is imported."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Any

from services.version import code_revision, installed
from worker.host.devices import visible_gpus

LIBRARIES = (
    *("torch", "torchvision", "timm", "einops", "safetensors"),
    *("numpy", "av", "opencv-contrib-python-headless", "pyarrow"),
)
"""Packages whose version may change a number."""
NVIDIA = Path("/proc/driver/nvidia")
"""Where the kernel's module says of itself and of its GPUs, without CUDA."""
CPUS = Path("/proc/cpuinfo")


@cache
def environment() -> dict[str, Any]:
    """Return what every attempt of this process runs in; a few hundred bytes of JSON.

    Returns:
        ``code``, ``python``, ``platform``, ``cpu``, ``cores``, ``libraries`` (version by package), ``cuda`` (for which
        PyTorch was built), ``driver`` and ``gpus`` (models); what is not there is null, or left out of ``libraries``.
    """
    versions = {name: installed(name) for name in LIBRARIES}
    gpus = gpu_models() if visible_gpus() else []
    return {
        "code": code_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _first(CPUS, r"model name\s*:\s*(.+)"),
        "cores": os.cpu_count(),
        "libraries": {name: version for name, version in versions.items() if version is not None},
        "cuda": _cuda(),
        "driver": driver_version() if gpus else None,
        "gpus": gpus,
    }


def gpu_models(folder: Path = NVIDIA) -> list[str]:
    """Return the models of the GPUs that the kernel's module has."""
    found = (_first(file, r"Model:\s*(.+)") for file in sorted(folder.glob("gpus/*/information")))
    return [model for model in found if model is not None]


def driver_version(folder: Path = NVIDIA) -> str | None:
    """Return the version of the kernel's module, which is that of the driver."""
    return _first(folder / "version", r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s")


def _cuda() -> str | None:
    """Return the version of CUDA for which PyTorch was built; it says so in a file of its own."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return _first(Path(spec.origin).with_name("version.py"), r"^cuda\b[^=\n]*=\s*'([^']+)'")


def _first(file: Path, pattern: str) -> str | None:
    with contextlib.suppress(OSError):
        found = re.search(pattern, file.read_text(errors="replace"), flags=re.MULTILINE)
        return found[1].strip() if found else None
    return None
