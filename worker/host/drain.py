"""Keeps a worker from taking stages while its host seems broken: full, out of processes, with a GPU that fails.

A stage that fails by itself fails elsewhere too, and costs two attempts. A host that fails every stage would take the
queue with it; so a worker whose stages fail one after the other stops, says why, and goes on when a probe succeeds.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from services.errors import Cause
from services.stores.files import is_full
from services.words import counted

FAILURES = 3
"""Different stages in a row that fail for causes of the host."""
CAUSES = frozenset({Cause.INTERNAL, Cause.CUDA_ERROR, Cause.DISK_FULL})
PROBE_SECONDS = 120.0

logger = logging.getLogger(__name__)


class Drain:
    """Decides whether a worker takes stages.

    Args:
        work: the work root, which must have room.
        probe: tries the host out, and returns what is wrong, or None.
    """

    def __init__(self, work: Path, probe: Callable[[], str | None]) -> None:
        self._work, self._probe = work, probe
        self._failed: list[str] = []
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the worker takes no stage, or None."""
        if self._reason is None and is_full(self._work):
            return f"the disk of {self._work} is full"
        return self._reason

    def note(self, key: str, label: str, cause: Cause | None) -> bool:
        """Count how a stage ended, ``cause`` being None after a success; return whether the worker stops now."""
        if cause is None:
            self._failed.clear()
        if cause not in CAUSES or key in self._failed:
            return False
        self._failed.append(key)
        if len(self._failed) < FAILURES or self._reason is not None:
            return False
        self._reason = f"{counted(len(self._failed), 'stage')} failed here in a row, the last was {label} ({cause})"
        logger.error("takes no stage until a probe of this host succeeds: %s", self._reason)
        return True

    def look_again(self) -> None:
        """Probe a host that seemed broken, and take stages again if it is well."""
        if self._reason is None:
            return
        wrong = self._probe()
        if wrong is None:
            logger.warning("the probe of this host succeeded: takes stages again")
            self._failed.clear()
            self._reason = None
        else:
            self._reason = f"the probe of this host failed: {wrong}"


def probe_host(work: Path, devices: Sequence[str]) -> str | None:
    """Start a process that writes to the work root and computes on each GPU; return what is wrong, or None."""
    command = [sys.executable, "-m", "worker.host.probe", str(work), *devices]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    words = done.stderr.decode(errors="replace").strip().splitlines()
    return words[-1] if words else f"exit code {done.returncode}"
