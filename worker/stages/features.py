"""Feature files: what ``extract`` writes for every clip of a manifest, and ``train`` and ``score`` read by clip id.

``features.npy`` holds the features of all steps of all clips, one clip after another, ``(M, D)`` or ``(M, C, H, W)``;
``clips.json`` their ids, labels and numbers of steps. It is memory-mapped: only the rows that are asked for are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from services.errors import DataError
from services.specs import Stream
from services.specs.networks import Network
from services.stores.files import write_atomically
from services.stores.names import temporary
from worker.contract import Task
from worker.training.batches import Indices, Inputs
from worker.video.survey.manifest import Clip

FEATURES_FILE, ROWS_FILE = "features.npy", "clips.json"
"""The features of all clips one after another; and which rows of them are of which clip, with its label."""

Features = NDArray[np.float32]
Stored = NDArray[np.float16] | NDArray[np.float32]
Shape = tuple[int, ...]


def write_features(folder: Path, clips: Sequence[Clip], lengths: Sequence[int], parts: Iterable[Stored]) -> None:
    """Write the features of N clips, part by part; no more than one part lies in memory.

    Args:
        folder: of the two files.
        clips: in the order of the features.
        lengths: steps of each clip.
        parts: features of clips one after another, ``(m, ...)``, m adding up to the sum of ``lengths``.
    """
    made, whole, row = temporary(folder / FEATURES_FILE), None, 0
    for part in parts:
        if whole is None:
            shape = (sum(lengths), *part.shape[1:])
            whole = np.lib.format.open_memmap(made, mode="w+", dtype=part.dtype, shape=shape)
        whole[row : row + len(part)] = part
        row += len(part)
    assert whole is not None, "no clips"
    assert row == len(whole)
    whole.flush()
    made.replace(folder / FEATURES_FILE)
    content = {"ids": [c.id for c in clips], "labels": [c.label for c in clips], "lengths": list(lengths)}
    write_atomically(folder / ROWS_FILE, json.dumps(content).encode())


class StoredFeatures:
    """The features of N clips as they lie on disk.

    Attributes:
        lengths: steps of each clip, ``(N,)``.
        shape: of one step, ``(D,)`` or ``(C, H, W)``.
    """

    def __init__(self, stored: Stored, first: Indices, lengths: Indices) -> None:
        self._stored, self._first, self.lengths = stored, first, lengths
        self.shape: Shape = tuple(stored.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Of all steps, as float32."""
        return int(self.lengths.sum()) * int(np.prod(self.shape)) * 4

    def take(self, clips: Indices, steps: Indices, out: Features | None = None) -> Features:
        """Read steps ``(n, T)`` of clips ``(n,)``, by number: float32 ``(n, T, ...)``, in the order of the file.

        ``out`` takes the result where it is given.
        """
        rows = self._first[clips][:, None] + steps
        found = np.empty((*steps.shape, *self.shape), np.float32) if out is None else out
        for place in np.argsort(rows[:, 0]):
            found[place] = self._stored[rows[place]]
        return found


def open_features(folder: Path, clips: Sequence[Clip]) -> StoredFeatures:
    """Return the features of N clips, found by id and not yet read.

    Raises:
        DataError: a clip has no features, or another label than here.
    """
    content = json.loads((folder / ROWS_FILE).read_bytes())
    rows = {name: row for row, name in enumerate(content["ids"])}
    for clip in clips:
        if clip.id not in rows:
            raise DataError(f"{folder / ROWS_FILE}: no features of clip {clip.id}")
        if content["labels"][rows[clip.id]] != clip.label:
            raise DataError(
                f"{folder / ROWS_FILE}: clip {clip.id} has label {content['labels'][rows[clip.id]]},"
                f" the manifest says {clip.label}"
            )
    own = [rows[clip.id] for clip in clips]
    lengths = np.array(content["lengths"], np.int64)
    first = np.array([0, *accumulate(content["lengths"])], np.int64)
    return StoredFeatures(np.load(folder / FEATURES_FILE, mmap_mode="r"), first[own], lengths[own])


class StreamFeatures:
    """The features of N clips as a network takes them: one stream, several side by side, or apart by name.

    Args:
        streams: of the same clips.
        apart: hand them over by name.

    Raises:
        DataError: the streams have different steps.
    """

    def __init__(self, streams: Mapping[Stream, StoredFeatures], *, apart: bool) -> None:
        self._streams, self._apart = dict(streams), apart
        (leader, first), *others = self._streams.items()
        self.lengths = first.lengths
        for name, other in others:
            if not np.array_equal(other.lengths, first.lengths):
                raise DataError(f"features of {name}: other numbers of steps than those of {leader}")
            if not apart and other.shape[1:] != first.shape[1:]:
                raise DataError(f"features of {name}: shape {other.shape}, allowed: (C, {first.shape[1:]})")

    @property
    def shape(self) -> Shape | dict[str, Shape]:
        """Of one step: ``(D,)``, ``(C, H, W)``, or such a shape by stream; side by side, D or C is a sum."""
        if self._apart:
            return {name: stored.shape for name, stored in self._streams.items()}
        shapes = [stored.shape for stored in self._streams.values()]
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    @property
    def num_bytes(self) -> int:
        """Of all clips and streams, as float32."""
        return sum(stored.num_bytes for stored in self._streams.values())

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, clips: Indices, steps: Indices | None = None) -> Inputs:
        """Read clips ``(n,)`` at steps ``(n, T)``, or at all steps, of which each must have as many.

        Returns:
            float32 ``(n, T, ...)``, or such a tensor by stream.
        """
        if steps is None:
            steps = np.broadcast_to(np.arange(self.lengths[clips[0]]), (len(clips), self.lengths[clips[0]]))
        if self._apart:
            return {name: torch.from_numpy(_take([stored], clips, steps)) for name, stored in self._streams.items()}
        return torch.from_numpy(_take(list(self._streams.values()), clips, steps))


def _take(streams: Sequence[StoredFeatures], clips: Indices, steps: Indices) -> Features:
    """Read streams side by side, each into its place: a copy would take as much memory again."""
    widths = [stored.shape[0] for stored in streams]
    found = np.empty((*steps.shape, sum(widths), *streams[0].shape[1:]), np.float32)
    for stored, last in zip(streams, accumulate(widths), strict=True):
        stored.take(clips, steps, found[:, :, last - stored.shape[0] : last])
    return found


def stream_features(task: Task, streams: Sequence[Stream], model: Network, clips: Sequence[Clip]) -> StreamFeatures:
    """Return the features of N clips in the form that a network takes; nothing is read yet.

    Raises:
        DataError: a clip has no features, or the streams do not fit together.
    """
    opened = {stream: open_features(task.input(stream).path, clips) for stream in streams}
    return StreamFeatures(opened, apart=model.sees_both)
