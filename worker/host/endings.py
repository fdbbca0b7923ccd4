"""Tells how an attempt ended: by its exit, its result and its last words, and by the counts of the kernel."""

from __future__ import annotations

import contextlib
import logging
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from services.errors import Cause
from services.stores.files import is_full
from worker.contract import EXIT_SUCCEEDED, Outcome
from worker.host.forkserver import Exit

logger = logging.getLogger(__name__)

LAST_WORDS_LINES = 20
LAST_WORDS_BYTES = 16_384
CGROUP = Path("/sys/fs/cgroup")

Status = Literal["succeeded", "failed", "cancelled", "preempted", "lost"]


@dataclass(frozen=True)
class Ending:
    """How an attempt ended.

    Attributes:
        status: ``lost`` means that the attempt no longer owns its stage: touch nothing.
        cause: set unless it succeeded.
        summary: what the stage returned.
        exit_code: of the rank process, None when a signal ended it or nobody saw its end.
        signal: number of the signal that ended it.
        last_words: last lines of its log.
        memory_bytes: the most that it had in memory, as far as it said so.
        gpu_memory_bytes: the most that its tensors took on its GPU, likewise.
        cpu_seconds: that processors computed for it, likewise.
    """

    status: Status
    cause: Cause | None = None
    message: str = ""
    summary: dict[str, Any] | None = None
    exit_code: int | None = None
    signal: int | None = None
    last_words: str = ""
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    cpu_seconds: float | None = None


def read_outcome(path: Path) -> Outcome | None:
    """Return what a rank process said when it ended by itself, or None."""
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        logger.warning("no outcome in %s: %s", path, error)
        return None


def last_words(log_file: Path) -> str:
    """Return the last lines of a log."""
    with contextlib.suppress(OSError), log_file.open("rb") as file:
        file.seek(max(0, log_file.stat().st_size - LAST_WORDS_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-LAST_WORDS_LINES:])
    return ""


def judge(ended: Exit, outcome: Outcome | None, asked: Ending | None, words: str, out_of_memory: bool) -> Ending:
    """Tell how an attempt ended.

    Args:
        ended: how its process ended.
        outcome: what it said itself.
        asked: the ending that the supervisor asked for, if it did; it holds unless the stage was done before.
        words: last lines of its log.
        out_of_memory: whether the kernel killed a process for memory meanwhile.
    """
    if outcome and outcome.status == "succeeded" and ended.code == EXIT_SUCCEEDED and not _cancelled(asked):
        ending = Ending(
            "succeeded",
            summary=outcome.summary,
            memory_bytes=outcome.memory_bytes,
            gpu_memory_bytes=outcome.gpu_memory_bytes,
            cpu_seconds=outcome.cpu_seconds,
        )
    elif asked is not None:
        ending = asked
    elif outcome and outcome.status == "failed":
        ending = Ending("failed", outcome.cause, outcome.message)
    elif outcome and outcome.status == "interrupted":
        ending = Ending("preempted", Cause.PREEMPTED, "SIGTERM from elsewhere; a checkpoint was written")
    else:
        ending = _unsaid(ended, out_of_memory)
    return replace(ending, exit_code=ended.code, signal=ended.signal, last_words=words)


def _cancelled(asked: Ending | None) -> bool:
    return asked is not None and asked.status == "cancelled"


def _unsaid(ended: Exit, out_of_memory: bool) -> Ending:
    """Tell from its exit alone how a process ended that we did not ask to, and that left no word of failure."""
    if ended.zygote_died:
        return Ending("failed", Cause.WORKER_LOST, "the process that had started the stage died")
    if ended.signal == signal.SIGKILL and out_of_memory:
        return Ending("failed", Cause.OUT_OF_MEMORY, "killed by the kernel, which was out of memory")
    if ended.signal == signal.SIGKILL:
        return Ending("failed", Cause.WORKER_LOST, "killed by SIGKILL from elsewhere")
    if ended.signal == signal.SIGTERM:
        return Ending("preempted", Cause.PREEMPTED, "SIGTERM from elsewhere")
    if ended.signal is not None:
        return Ending("failed", Cause.INTERNAL, f"ended by signal {ended.signal} ({signal.strsignal(ended.signal)})")
    return Ending("failed", Cause.INTERNAL, f"exit code {ended.code} without a result")


def blame_full_disk(ending: Ending, folder: Path) -> Ending:
    """Return an ending with its true cause: a stage may not have been able to say that the disk of a folder is full."""
    if ending.cause is not Cause.INTERNAL or not is_full(folder):
        return ending
    message = f"{ending.message}; the disk of {folder} is full"
    return replace(ending, cause=Cause.DISK_FULL, message=message)


def kernel_oom_kills() -> int | None:
    """Return how many processes of our memory cgroup the kernel has killed for memory, or None if it does not say."""
    for file in _oom_files():
        with contextlib.suppress(OSError):
            for line in file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return None


def _oom_files() -> list[Path]:
    """List where the count may stand: cgroup v2, cgroup v1, then the whole machine's."""
    files = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                files.append(CGROUP / path.lstrip("/") / "memory.events")
            elif "memory" in controllers.split(","):
                files.append(CGROUP / "memory" / path.lstrip("/") / "memory.oom_control")
    return [*files, CGROUP / "memory.events", Path("/proc/vmstat")]
