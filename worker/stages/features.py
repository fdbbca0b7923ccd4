"""Feature files: what ``extract`` writes for every clip of a manifest, and ``train`` and ``score`` read by clip id."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from worker.task import Task, write_atomically
from worker.video.manifest import Clip

FEATURES_FILE, CLIPS_FILE = "features.npy", "clips.json"

Features = NDArray[np.float32]


def write_features(folder: Path, clips: Sequence[Clip], features: Features) -> None:
    """Write ``features (N, T, D)`` with the ids and labels of their N clips."""
    buffer = io.BytesIO()
    np.save(buffer, features)
    write_atomically(folder / FEATURES_FILE, buffer.getvalue())
    content = {"ids": [clip.id for clip in clips], "labels": [clip.label for clip in clips]}
    write_atomically(folder / CLIPS_FILE, json.dumps(content).encode())


def read_features(folder: Path, clips: Sequence[Clip]) -> Features:
    """Return the features ``(N, T, D)`` of N clips, found by id; rows of other clips are not read.

    Raises:
        DataError: a clip has no features, or another label than here.
    """
    content = json.loads((folder / CLIPS_FILE).read_bytes())
    rows = {name: row for row, name in enumerate(content["ids"])}
    for clip in clips:
        if clip.id not in rows:
            raise DataError(f"{folder / CLIPS_FILE}: no features of clip {clip.id}")
        if content["labels"][rows[clip.id]] != clip.label:
            raise DataError(
                f"{folder / CLIPS_FILE}: clip {clip.id} has label {content['labels'][rows[clip.id]]},"
                f" the manifest says {clip.label}"
            )
    stored: Features = np.load(folder / FEATURES_FILE, mmap_mode="r")
    return np.ascontiguousarray(stored[[rows[clip.id] for clip in clips]])


def read_streams(task: Task, streams: Sequence[str], clips: Sequence[Clip]) -> Features:
    """Return the features of N clips, those of several streams side by side: ``(N, T, D)``, D summed over streams."""
    parts = [read_features(task.input(stream).path, clips) for stream in streams]
    return np.concatenate(parts, axis=2)
