"""Score files: the class scores of every test clip of a split, keyed by clip id."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from services.errors import DataError
from services.specs import Stream
from services.stores.files import write_atomically

SCORES_FILE = "scores.json"

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
ScoreKind = Literal["probabilities", "logits"]


class ScoreFile(BaseModel):
    """What a system says about each test clip.

    Attributes:
        dataset: its name.
        split: number of the split whose test list this is.
        streams: the streams that the system saw.
        seed: of the training.
        classes: K names by label.
        clips: N ids, sorted.
        labels: N labels from 0.
        scores: N rows of K numbers, finite.
        kind: ``probabilities`` (rows sum to 1) or ``logits`` (before the softmax).
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    split: int
    streams: tuple[Stream, ...]
    seed: int
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    labels: tuple[int, ...]
    scores: tuple[tuple[float, ...], ...]
    kind: ScoreKind

    @property
    def values(self) -> Scores:
        """Scores as an array ``(N, K)``."""
        return np.array(self.scores, dtype=np.float64).reshape(len(self.clips), len(self.classes))

    @property
    def truth(self) -> Labels:
        """Labels as an array ``(N,)``."""
        return np.array(self.labels, dtype=np.int64)


def read_scores(folder: Path) -> ScoreFile:
    """Read the score file in the output folder of a stage.

    Raises:
        DataError: rows, labels and ids differ in number, or a score is no finite number.
    """
    path = folder / SCORES_FILE
    scores = ScoreFile.model_validate_json(path.read_bytes())
    widths = {len(row) for row in scores.scores}
    if not len(scores.clips) == len(scores.labels) == len(scores.scores) or widths - {len(scores.classes)}:
        raise DataError(
            f"{path}: {len(scores.clips)} clips, {len(scores.labels)} labels, {len(scores.scores)} rows of"
            f" {sorted(widths)} scores for {len(scores.classes)} classes"
        )
    unusable = np.flatnonzero(~np.isfinite(scores.values).all(axis=1))
    if len(unusable):
        raise DataError(f"{path}: clip {scores.clips[unusable[0]]} has a score that is no finite number")
    return scores


def write_scores(folder: Path, scores: ScoreFile) -> None:
    """Write a score file into a folder."""
    write_atomically(folder / SCORES_FILE, scores.model_dump_json().encode())


def log_softmax(logits: Scores) -> Scores:
    """Return log-probabilities ``(N, K)`` of logits ``(N, K)``."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    normalised: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised
