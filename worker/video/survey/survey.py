"""Inspection of many clips: in parallel, each decoder in a process of its own, resumable clip by clip.

Shared by the `index` stage and the doctor.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from services.stores.files import write_atomically
from worker.video.decoding.decoder import DecodeFailed
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.survey.inspection import DECODER, FACTS, Inspection
from worker.video.survey.isolation import Inspectors

SAVE_SECONDS = 2.0
SAVE_CLIPS = 512
AHEAD = 256
"""Clips for each process that are asked for before the first of them has to be done: a long one holds up no other."""


class Failure(NamedTuple):
    """Why a clip does not decode, and the first frame that is missing."""

    frame: int
    reason: str


Found = Inspection | Failure
Finding = tuple[list[int], Found]


class SurveyLog:
    """What clips hold, kept in a folder, so that a later run asks about new and changed files only.

    A run asks about a clip once: what it was given, or has found out itself, it forgets.

    Files are written once and never changed: another run may have links to them. Failures are not kept, since many have
    a reason outside the file: rights, a disk that was away, a decoder that was killed.

    Args:
        folder: of the files; made when something is first saved.
        seconds: findings of so long are saved at once; 0 saves each by itself.

    Attributes:
        trouble: why findings could not be saved, in words; empty as long as they could.
    """

    def __init__(self, folder: Path, seconds: float = SAVE_SECONDS) -> None:
        self._folder, self._seconds = folder, seconds
        self._known: dict[str, dict[str, Any]] = {}
        self._fresh: dict[str, dict[str, Any]] = {}
        self._saved_at = time.monotonic()
        self.trouble = ""
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        for file in files:
            with suppress(OSError, ValueError):  # what a damaged file held is found out again
                self._known.update(json.loads(file.read_bytes()))
        self._next = len(files)

    def get(self, root: Path, path: str) -> Inspection | None:
        """Return what is known of a file as it is now, by this decoder."""
        entry = self._known.pop(path, None)
        if entry is None or entry["stamp"] != stamp_of(root / path):
            return None
        if (entry["decoder"], entry.get("facts")) != (DECODER, FACTS):
            return None
        try:
            return Inspection.model_validate(entry.get("found"))
        except ValidationError:  # of another version
            return None

    def put(self, path: str, stamp: list[int], found: Inspection) -> None:
        """Remember a finding about a file of that `stamp_of`; on disk after some seconds, or at the next `save`."""
        self._fresh[path] = {"stamp": stamp, "decoder": DECODER, "facts": FACTS, "found": found.model_dump()}
        if time.monotonic() - self._saved_at >= self._seconds or len(self._fresh) >= SAVE_CLIPS:
            self.save()

    def save(self) -> None:
        """Write what is not on disk yet; what goes wrong is in ``trouble``, since findings can be found again."""
        self._saved_at = time.monotonic()
        if not self._fresh:
            return
        try:
            write_atomically(self._folder / f"{self._next:06d}.json", json.dumps(self._fresh).encode())
        except OSError as error:
            self.trouble = f"{self._folder}: what clips hold cannot be kept for a later run: {error.strerror or error}"
            return
        self._next, self._fresh = self._next + 1, {}


def survey(
    root: Path, paths: Iterable[str], log: SurveyLog, threads: int, limits: Limits = LIMITS
) -> Iterator[tuple[str, Found]]:
    """Inspect clips and yield each with what it holds or why it does not decode, in the given order.

    Args:
        root: folder of the clips.
        paths: of the clips, below it.
        log: what is known already, and takes what is found.
        threads: decoder processes.
        limits: how large frames may be.
    """
    waiting: deque[tuple[str, Found | Future[Finding]]] = deque()
    with Inspectors(limits) as inspectors, ThreadPoolExecutor(threads) as pool:

        def inspect(path: str) -> Finding:
            stamp = stamp_of(root / path)  # before it is read: what changes meanwhile is inspected again
            try:
                return stamp, inspectors.inspect(root / path)
            except DecodeFailed as error:
                return stamp, Failure(error.frame, error.reason)

        def next_one() -> tuple[str, Found]:
            path, found = waiting.popleft()
            if isinstance(found, Future):
                stamp, found = found.result()
                if isinstance(found, Inspection):
                    log.put(path, stamp, found)
            return path, found

        try:
            for path in paths:
                known = log.get(root, path)
                allowed = known is not None and known.width * known.height <= limits.pixels
                waiting.append((path, known if known is not None and allowed else pool.submit(inspect, path)))
                if len(waiting) >= AHEAD * threads:
                    yield next_one()
            while waiting:
                yield next_one()
        finally:
            log.save()
            pool.shutdown(wait=False, cancel_futures=True)


def stamp_of(path: Path) -> list[int]:
    """Return size and time of change of a file; nothing where there is none."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]
