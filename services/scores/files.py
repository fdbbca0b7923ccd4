"""Score files: the class scores of every test clip of a split, keyed by clip id, as arrays in an ``npz``.

A stage writes ``scores.npz``: ``clips`` ``(N,)`` text, ``labels`` ``(N,)`` int32, ``classes`` ``(K,)`` text, ``scores``
``(N, K)`` float32 or float64, and ``about``, JSON as UTF-8 bytes with all else. Versions before wrote ``scores.json``,
which is read where it is what there is. Nothing in it is pickled, and pickles are never read.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.specs import Stream
from services.stores.files import write_atomically
from services.words import counted

SCORES_FILE, EARLIER_FILE = "scores.npz", "scores.json"

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
ScoreKind = Literal["probabilities", "logits"]
ABOUT = ("dataset", "split", "streams", "seed", "kind", "protocol", "stage", "views")


@dataclass(frozen=True, eq=False)
class ScoreFile:
    """What a system says about each test clip.

    Attributes:
        dataset: its name.
        split: number of the split whose test list this is.
        streams: the streams that the system saw.
        seed: of the training.
        classes: K names by label.
        clips: N ids.
        labels: ``(N,)`` from 0.
        scores: ``(N, K)`` float32 or float64, finite.
        kind: ``probabilities`` (rows sum to 1) or ``logits`` (before the softmax).
        protocol: what of a clip was looked at, as the `score` stage was asked; None where that is not known.
        stage: key of the stage that wrote it; None likewise.
        views: how many views of a clip were averaged; None likewise.
    """

    dataset: str
    split: int
    streams: tuple[Stream, ...]
    seed: int
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    labels: NDArray[np.integer[Any]]
    scores: NDArray[np.floating[Any]]
    kind: ScoreKind
    protocol: Mapping[str, Any] | None = None
    stage: str | None = None
    views: int | None = None

    @property
    def values(self) -> Scores:
        """Scores as float64 ``(N, K)``, in which all is computed."""
        return self.scores.astype(np.float64, copy=False)

    @property
    def truth(self) -> Labels:
        """Labels as int64 ``(N,)``."""
        return self.labels.astype(np.int64, copy=False)


def read_scores(folder: Path) -> ScoreFile:
    """Read the score file in the output folder of a stage.

    Raises:
        DataError: there is none or it is broken; rows, labels and ids differ in number; a score is no finite number.
    """
    path = score_file(folder)
    try:
        scores = _read_json(path) if path.name == EARLIER_FILE else _read_npz(path)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: no score file: {error!r}") from error
    clips, classes = len(scores.clips), len(scores.classes)
    if scores.labels.shape != (clips,) or scores.scores.shape != (clips, classes):
        raise DataError(
            f"{path}: {counted(clips, 'clip')}, labels of shape {scores.labels.shape}"
            f" and scores of shape {scores.scores.shape} for {counted(classes, 'class')}"
        )
    unusable = np.flatnonzero(~np.isfinite(scores.scores).all(axis=1))
    if len(unusable):
        raise DataError(f"{path}: clip {scores.clips[unusable[0]]} has a score that is no finite number")
    return scores


def score_file(folder: Path) -> Path:
    """Return the score file of a stage's output folder, that of an earlier version where it is the only one."""
    earlier = folder / EARLIER_FILE
    return earlier if earlier.exists() and not (folder / SCORES_FILE).exists() else folder / SCORES_FILE


def write_scores(folder: Path, scores: ScoreFile) -> None:
    """Write a score file into a folder; equal scores give equal bytes."""
    write_atomically(folder / SCORES_FILE, packed(scores))


def packed(scores: ScoreFile) -> bytes:
    """Return the bytes of a score file."""
    about = json.dumps({name: getattr(scores, name) for name in ABOUT}, sort_keys=True)
    file = io.BytesIO()
    np.savez(
        file,
        about=np.frombuffer(about.encode(), dtype=np.uint8),
        clips=np.array(scores.clips, dtype=np.str_),
        labels=scores.labels.astype(np.int32),
        classes=np.array(scores.classes, dtype=np.str_),
        scores=scores.scores,
    )
    return file.getvalue()


def _read_npz(path: Path) -> ScoreFile:
    with path.open("rb") as file, zipfile.ZipFile(file), np.load(file, allow_pickle=False) as found:
        about = json.loads(found["about"].tobytes())
        return ScoreFile(
            **(about | {"streams": tuple(about["streams"])}),
            classes=tuple(found["classes"].tolist()),
            clips=tuple(found["clips"].tolist()),
            labels=found["labels"],
            scores=found["scores"],
        )


def _read_json(path: Path) -> ScoreFile:
    found = json.loads(path.read_bytes())
    return ScoreFile(
        dataset=found["dataset"],
        split=found["split"],
        streams=cast("tuple[Stream, ...]", tuple(found["streams"])),
        seed=found["seed"],
        classes=tuple(found["classes"]),
        clips=tuple(found["clips"]),
        labels=np.array(found["labels"], dtype=np.int64),
        scores=np.array(found["scores"], dtype=np.float64),  # rows of unequal length have no such array
        kind=found["kind"],
    )
