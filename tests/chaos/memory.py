"""Too little memory for one process: a memory cgroup where one can be made, else a limit on its address space."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY_BYTES = 16 << 20
"""Beyond what a process had when it came under the limit."""
CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def cgroup() -> Iterator[Path | None]:
    """Lend a cgroup that allows little memory, of version 1 or 2, or None where none can be made."""
    parent, limit = _parent()
    folder = parent / f"twostream-chaos-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(MEMORY_BYTES))
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        yield None
        return
    try:
        yield folder
    finally:
        for pid in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended
                (parent / "cgroup.procs").write_text(pid)
        folder.rmdir()


def starve(process: psutil.Process, folder: Path | None) -> None:
    """Have a process find no more memory."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        if folder is not None:
            (folder / "cgroup.procs").write_text(str(process.pid))
        else:
            size = process.memory_info().vms
            process.rlimit(psutil.RLIMIT_AS, (size + MEMORY_BYTES, size + MEMORY_BYTES))


def _parent() -> tuple[Path, str]:
    """Return the folder of our own cgroup, and the name of the file that holds a limit there."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return CGROUPS / "memory" / path.lstrip("/"), "memory.limit_in_bytes"
    return CGROUPS / path.lstrip("/"), "memory.max"
