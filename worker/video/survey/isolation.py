"""Inspection of clips in a process of its own, so that a crash inside the C library costs a clip and not the stage.

`Inspector` is the parent's end. The child is ``python -m worker.video.survey.isolation FD PIXELS``, PIXELS being those
of the largest frame that it decodes: it reads paths, one JSON string a
line, and answers each with a line of JSON, after an empty one that says that it has started. It counts frames, then
bytes that are hashed, in shared memory (FD), from which the parent reads how far a child came that can no longer say
so. The child leads no process group, so that it goes when its stage is ended, and it ends by itself when its parent
closes the pipe.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from worker.video.decoding.decoder import DecodeFailed
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.survey.inspection import Inspection, inspect_clip

COMMAND = (sys.executable, "-m", "worker.video.survey.isolation")
COUNTERS = struct.Struct("=QQ")
"""Frames that were decoded, bytes that were hashed."""
SILENT_SECONDS = 120.0
"""How long a child may work without a new frame or more bytes before it counts as hanging."""
START_SECONDS = 120.0
"""How long a child may take for its imports, on a host that is busy."""

Count = Callable[[int], None]


class Inspector:
    """A child process that inspects one clip at a time; started at its first clip, and again after a crash.

    Args:
        silent_seconds: how long it may work without a new frame or more bytes.
        command: of the child, to which the descriptor of the counter and the pixels are added; tests give another.
        limits: how large frames may be.
    """

    def __init__(
        self, silent_seconds: float = SILENT_SECONDS, command: Sequence[str] = COMMAND, limits: Limits = LIMITS
    ) -> None:
        self._silent_seconds, self._command, self._limits = silent_seconds, tuple(command), limits
        self._memory = os.memfd_create("frames")
        os.ftruncate(self._memory, COUNTERS.size)
        self._counters = mmap.mmap(self._memory, COUNTERS.size)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._counters.close()
        os.close(self._memory)

    def inspect(self, path: Path) -> Inspection:
        """Hash a clip and decode it from end to end.

        Raises:
            DecodeFailed: it does not decode, or its decoder crashed or hangs.
        """
        COUNTERS.pack_into(self._counters, 0, 0, 0)
        child = self._running(path)
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(str(path)).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            raise self._crashed(path) from None
        answer = json.loads(self._line(path, child, self._silent_seconds))
        if "failed" in answer:
            raise DecodeFailed(path, answer["frame"], answer["failed"])
        return Inspection.model_validate(answer)

    def _running(self, path: Path) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [*self._command, str(self._memory), str(self._limits.pixels)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self._memory,),
            )
            self._line(path, self._child, START_SECONDS)
        return self._child

    def _line(self, path: Path, child: subprocess.Popen[bytes], patience_seconds: float) -> bytes:
        assert child.stdout is not None
        answer, counts = b"", self._counts
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not ready.select(patience_seconds):
                    if self._counts == counts:
                        raise self._hangs(path, patience_seconds)
                    counts = self._counts
                    continue
                part = os.read(child.stdout.fileno(), 65536)
                if not part:
                    raise self._crashed(path)
                answer += part
        return answer

    @property
    def _counts(self) -> tuple[int, int]:
        """Frames and bytes so far."""
        frames, num_bytes = COUNTERS.unpack(self._counters[:])
        return frames, num_bytes

    def _crashed(self, path: Path) -> DecodeFailed:
        assert self._child is not None
        code = self._child.wait()
        self._stop()
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return DecodeFailed(path, self._counts[0], f"the decoder crashed: {how}")

    def _hangs(self, path: Path, seconds: float) -> DecodeFailed:
        self._stop()
        frames, num_bytes = self._counts
        what = f"hashing hangs after {num_bytes} bytes: no more" if num_bytes else "the decoder hangs: no frame"
        return DecodeFailed(path, frames, f"{what} in {seconds:g} s")

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            for pipe in (self._child.stdin, self._child.stdout):
                assert pipe is not None
                pipe.close()
            self._child = None


class Inspectors:
    """One `Inspector` for each thread that asks; all end with the block.

    Args:
        limits: how large frames may be.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._local = threading.local()
        self._all: list[Inspector] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for inspector in self._all:
            inspector.__exit__()

    def inspect(self, path: Path) -> Inspection:
        """See `Inspector.inspect`."""
        if not hasattr(self._local, "inspector"):
            self._local.inspector = Inspector(limits=self._limits)
            self._all.append(self._local.inspector)
        inspector: Inspector = self._local.inspector
        return inspector.inspect(path)


def serve(memory: int, inspect: Callable[[Path, Count, Count], Inspection] = inspect_clip) -> None:
    """Answer the parent until it closes the pipe."""
    counters = memoryview(mmap.mmap(memory, COUNTERS.size)).cast("Q")

    def count_frames(frames: int) -> None:
        counters[0] = frames

    def count_bytes(num_bytes: int) -> None:
        counters[1] = num_bytes

    sys.stdout.write("\n")
    sys.stdout.flush()
    for line in sys.stdin:
        path = Path(json.loads(line))
        try:
            answer = inspect(path, count_frames, count_bytes).model_dump_json()
        except DecodeFailed as error:
            answer = json.dumps({"failed": error.reason, "frame": error.frame})
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends us
    serve(int(sys.argv[1]), partial(inspect_clip, limits=Limits(pixels=int(sys.argv[2]))))
