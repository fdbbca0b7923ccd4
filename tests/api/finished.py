"""Experiments whose models and scores lie in the artifact store, though nothing trained them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from services.datasets.motion_shapes import CLASSES
from services.queue.claim import Claim
from services.scores.files import ScoreFile, write_scores
from tests.api.conftest import Worker

CLIPS = ("SlideLeft/v_SlideLeft_g01_c01", "SlideRight/v_SlideRight_g01_c01")
WEIGHTS = {"classifier.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4)}


class Publisher:
    """Ends stages by decree, and leaves in the store what a reader of models looks for.

    Args:
        worker: ends them.
        artifacts: root of the store.
    """

    def __init__(self, worker: Worker, artifacts: Path) -> None:
        self._worker, self._artifacts = worker, artifacts

    def finish_all(self) -> None:
        while (claim := self._worker.claim()) is not None:
            folder = self._artifacts / "stages" / claim.key
            folder.mkdir(parents=True, exist_ok=True)
            self._publish(claim, folder)
            self._worker.succeed(claim)

    def _publish(self, claim: Claim, folder: Path) -> None:
        if claim.kind in {"train", "finetune"}:
            torch.save(WEIGHTS, folder / "model.pt")
        if claim.kind in {"score", "fuse"}:
            write_scores(folder, _scores(claim))


def _scores(claim: Claim) -> ScoreFile:
    return ScoreFile(
        dataset="motion_shapes",
        split=claim.params["split"],
        streams=("rgb",),
        seed=claim.params["seed"],
        classes=CLASSES,
        clips=CLIPS,
        labels=np.array([0, 1]),
        scores=np.full((2, len(CLASSES)), 1 / len(CLASSES)),
        kind="probabilities",
    )
