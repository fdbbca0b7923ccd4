"""The contract between the supervisor and a rank process: a task file in, events and a result file out.

The rank process sees local paths only: no broker, no database, no secret.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from services.errors import Cause
from services.limits import MAX_DECODE_GIGABYTES, MAX_FRAME_MEGAPIXELS
from services.stages import KINDS, StageKind

EXIT_SUCCEEDED = 0
EXIT_FAILED = 70  # EX_SOFTWARE of sysexits.h: a typed cause lies in the result file
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: a checkpoint lies in the state folder
DUMP_SIGNAL = signal.SIGUSR1
"""Has a stage write the stacks of all its threads to its log, also while it hangs in a library."""
MESSAGE_BYTES = 1 << 17
"""Longest message between a fork server and its zygote."""
STAGES: Mapping[StageKind, str] = MappingProxyType({kind: f"worker.stages.{kind}" for kind in KINDS})
"""The module that runs each kind of stage."""
PROGRESS_INTERVAL_SECONDS = 0.2


class StageInput(BaseModel):
    """The finished output of another stage, as a local folder."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: StageKind
    key: str
    path: Path


class Task(BaseModel):
    """One attempt at one stage.

    Attributes:
        output: an empty folder; what lies in it at success becomes the stage's output.
        state: a folder carried over from earlier attempts; everything in it is replaced atomically.
        events: file of JSON lines, see ``Reporter``.
        result: file that holds the ``Outcome`` when the process ends by itself.
        data_root: where generated datasets and clip files live on this host.
        frame_cache_bytes: what decoded frames may take there; 0 keeps none.
        max_frame_pixels: width x height of the largest frame that is decoded.
        max_decode_bytes: what the frames, or flow fields, of one clip that are held at once may take.
        checkpoint_seconds: time between two checkpoints of a stage that is not told of them in steps or epochs.
        device: ``cpu`` or ``cuda:0``; ``CUDA_VISIBLE_DEVICES`` is already set.
        threads: number of CPU threads for tensor operations.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    kind: StageKind
    attempt: int
    params: dict[str, Any]
    inputs: tuple[StageInput, ...]
    output: Path
    state: Path
    events: Path
    result: Path
    data_root: Path
    frame_cache_bytes: int = 0
    max_frame_pixels: int = int(MAX_FRAME_MEGAPIXELS * 10**6)
    max_decode_bytes: int = int(MAX_DECODE_GIGABYTES * 10**9)
    checkpoint_seconds: float = 60
    device: str = "cpu"
    threads: int = 1

    def input(self, name: str) -> StageInput:
        """Return the input of that name; a missing one is a fault of the plan."""
        found = [entry for entry in self.inputs if entry.name == name]
        assert len(found) == 1, f"stage {self.kind} has {len(found)} inputs named {name!r}"
        return found[0]

    def inputs_of(self, kind: StageKind) -> tuple[StageInput, ...]:
        """Return the inputs of one kind, in the plan's order."""
        return tuple(entry for entry in self.inputs if entry.kind == kind)


class Outcome(BaseModel):
    """What a rank process says when it ends by itself.

    Attributes:
        memory_bytes: the most that it had in memory, shared pages counted; of several processes the first one's.
        gpu_memory_bytes: the most that its tensors took on its GPU; None without one.
        cpu_seconds: that processors computed for it and for its children that have ended.
    """

    model_config = ConfigDict(frozen=True)

    status: Literal["succeeded", "failed", "interrupted"]
    summary: dict[str, Any] = {}
    cause: Cause | None = None
    message: str = ""
    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    cpu_seconds: float | None = None


class Event(BaseModel):
    """One line of the events file.

    ``progress`` has done, total, unit, message; ``metrics`` has step and values; ``checkpoint`` has epoch and step of a
    training, clips of a flow; ``warning`` has message.
    """

    model_config = ConfigDict(frozen=True)

    time: float
    type: Literal["progress", "metrics", "checkpoint", "warning"]
    data: dict[str, Any]


class Reporter:
    """Writes a stage's progress, metrics and warnings as JSON lines, one flushed line each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._last_progress = 0.0

    def progress(self, done: int, total: int, unit: str = "steps", message: str = "") -> None:
        """Say how far the stage is; calls that come too fast are dropped, the last of a stage never is."""
        now = time.monotonic()
        if done < total and now - self._last_progress < PROGRESS_INTERVAL_SECONDS:
            return
        self._last_progress = now
        self._write("progress", {"done": done, "total": total, "unit": unit, "message": message})

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Report values at a step (an epoch, counted from 1); each reaches MLflow once per stage, name and step."""
        self._write("metrics", {"step": step, "values": dict(values)})

    def checkpoint(self, **reached: int) -> None:
        """Say that the state folder has more to go on from than before, and is to be saved where other hosts look.

        Args:
            reached: how far it goes, in the stage's own terms: ``epoch`` and ``step``, or finished ``clips``.
        """
        self._write("checkpoint", reached)

    def warning(self, message: str) -> None:
        """Say something that a user should read, such as a clip that was skipped."""
        self._write("warning", {"message": message})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, kind: str, data: dict[str, Any]) -> None:
        self._file.write(json.dumps({"time": time.time(), "type": kind, "data": data}) + "\n")
        self._file.flush()
