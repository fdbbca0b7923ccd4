"""Decoded frames on disk, under the hash of their clip and the version of the decoder, mapped into memory.

A clip is a numpy array, uint8 (T, H, W, 3): T x H x W x 3 bytes, some hundred times what the clip itself takes. Written
atomically, so that any number of workers share a folder; `twostream cache gc` drops what was unused for longest.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.stores.files import write_atomically
from services.stores.names import key_path
from worker.video.mapped import MappedArray, OpenReaders, Use, most_readers
from worker.video.survey.manifest import Clip

STORE_FOLDER = "frames"
STORE_VERSION = 1
"""Raised when the bytes of equal clips change for another reason than the decoder."""
RECOUNT_SECONDS = 60.0
"""How long a full store is believed to be full."""

Frames = NDArray[np.uint8]


class FrameStore:
    """The decoded clips of a folder, which together take no more than a bound.

    Args:
        folder: shared by all workers of a host.
        max_bytes: of all files in it, but for those that are just being written; a clip beyond it is not written.
        use: of a clip, which decides how many stay open.
    """

    def __init__(self, folder: Path, max_bytes: int, use: Use = "again") -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._maps: OpenReaders[MappedArray] = OpenReaders(most_readers(use))
        self._full_until = 0.0

    def find(self, clip: Clip) -> Frames | None:
        """Return the frames of a clip, uint8 (T, H, W, 3), mapped into memory, or None if they are not there whole."""
        try:
            return self._maps.get(clip.id, lambda: self._open(clip)).view
        except FileNotFoundError:
            return None

    def add(self, clip: Clip, decode: Callable[[], Frames]) -> Frames | None:
        """Decode and keep a clip, and return its frames, mapped; None, without decoding it, where there is no room.

        Raises:
            DecodeFailed: from ``decode``.
        """
        if not clip.sha256 or not self._reserve(math.prod(_shape(clip))):
            return None
        frames = decode()
        if frames.shape != _shape(clip):
            return frames
        content = io.BytesIO()
        np.save(content, frames)
        try:
            write_atomically(self._address(clip), content.getvalue())
        except OSError:  # the disk is full: training goes on without
            self._full_until = time.monotonic() + RECOUNT_SECONDS
            return frames
        return self.find(clip)

    def _open(self, clip: Clip) -> MappedArray:
        path = self._address(clip)
        os.utime(path)  # the last use, by which a collection of the cache goes
        try:
            frames = MappedArray(path)
        except ValueError as error:
            raise FileNotFoundError(f"{path}: no whole array: {error}") from error
        if frames.dtype != np.uint8 or frames.shape != _shape(clip):
            raise FileNotFoundError(f"{path}: {frames.dtype} {frames.shape}, allowed: uint8 {_shape(clip)}")
        return frames

    def _address(self, clip: Clip) -> Path:
        content = json.dumps({"clip": clip.sha256, "decoder": clip.decoder, "version": STORE_VERSION}, sort_keys=True)
        key = hashlib.sha256(content.encode()).hexdigest()
        return self._folder / key_path(key, ".npy")

    def _reserve(self, num_bytes: int) -> bool:
        """Count bytes in before they are written; all workers share the count, and correct it when it is full."""
        if time.monotonic() < self._full_until:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".bytes").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            text = file.read()
            taken = int(text) if text.isdecimal() else self._count()
            if taken + num_bytes > self._max_bytes:
                taken = self._count()  # a collection may have made room
            fits = taken + num_bytes <= self._max_bytes
            file.truncate(0)
            file.write(str(taken + num_bytes if fits else taken))
        if not fits:
            self._full_until = time.monotonic() + RECOUNT_SECONDS
        return fits

    def _count(self) -> int:
        return sum(path.stat().st_size for path in self._folder.glob("*/*.npy"))


def _shape(clip: Clip) -> tuple[int, int, int, int]:
    return clip.frames, clip.height, clip.width, 3
