"""Experiments whose stages have left what pictures are drawn from, though nothing computed it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from services.datasets.motion_shapes import CLASSES
from services.db.engine import Database
from services.pictures import FlowStrip, Strip, TestPictures, write_flow, write_test
from services.queue import attempts
from services.queue.claim import Claim
from services.queue.claim import claim as take
from services.scores.files import ScoreFile, write_scores
from services.stores.artifacts import ArtifactStore
from services.stores.files import finished_files
from tests.services.conftest import decreed_summary

CLIPS = tuple(f"{name}/v_{name}_g{group:02d}_c01" for name in CLASSES for group in (1, 2))
WIDTH, HEIGHT, STEPS = 80, 60, 4


class Leaver:
    """A worker that computes nothing, and leaves what stages leave.

    Args:
        database: of the experiments.
        store: takes the outputs.
        folder: for files on their way.
        pictures: whether it is of a version that leaves pictures.
    """

    def __init__(self, database: Database, store: ArtifactStore, folder: Path, *, pictures: bool = True) -> None:
        self._database, self._store, self._folder, self._pictures = database, store, folder, pictures

    def run_all(self) -> None:
        """End every stage that is ready, until none is."""
        while (claim := self._claim()) is not None:
            folder = self._folder / claim.key / str(claim.attempt)
            folder.mkdir(parents=True)
            summary = self._leave(claim, folder)
            place = self._store.add(folder, [*finished_files(folder)], claim.key, claim.attempt, "output")
            with self._database.transaction() as session:
                attempts.succeed(session, claim.key, claim.attempt, summary=summary, output=place, log="")

    def _claim(self) -> Claim | None:
        with self._database.transaction() as session:
            return take(session, ("cpu", "gpu"), worker_id="leaver", device="cpu", lease_seconds=300)

    def _leave(self, claim: Claim, folder: Path) -> dict[str, Any]:
        summary = decreed_summary(claim)
        if claim.kind == "score":
            write_scores(folder, scores(claim.params["split"], claim.params["streams"]))
            if self._pictures:
                left = pictures(claim.params["model"]["kind"], claim.params["pictures"])
                write_test(folder, left)
                summary |= {"pictured": [strip.clip for strip in left.strips], "embedded": True}
        if claim.kind == "flow" and self._pictures:
            write_flow(folder, [flow(CLIPS[1])])
            summary["pictured"] = [CLIPS[1]]
        if claim.kind == "localize":
            write_tubes(folder)
        (folder / "done").write_bytes(b"")
        return summary


def scores(split: int, streams: list[Any]) -> ScoreFile:
    labels = np.repeat(np.arange(len(CLASSES)), 2)
    return ScoreFile(
        dataset="motion_shapes",
        split=split,
        streams=tuple(streams),
        seed=0,
        classes=CLASSES,
        clips=CLIPS,
        labels=labels,
        scores=np.eye(len(CLASSES))[labels],
        kind="probabilities",
    )


def pictures(kind: str, strips: int = 2) -> TestPictures:
    """What a network of a kind leaves of clips that are bright on the left, and move to the right."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.standard_normal((len(CLASSES), 6)), 2, axis=0)
    probability = np.tile([0.1, 0.7, 0.4, 0.9], (len(CLIPS), 1))
    attends, remembers = kind in ("alstm", "conv_alstm"), kind == "memory"
    shares = np.zeros((STEPS, 3, 3), np.float16)
    shares[np.arange(STEPS), 1, np.minimum(np.arange(STEPS), 2)] = 1
    return TestPictures(
        embeddings=(centres + 0.1 * rng.standard_normal(centres.shape)).astype(np.float16),
        writes=(probability > 0.5).astype(np.uint8) if remembers else None,
        probability=probability.astype(np.float16) if remembers else None,
        threshold=0.5 if remembers else None,
        strips=tuple(
            Strip(
                clip=clip,
                steps=tuple(range(STEPS)),
                frames=tuple(range(0, 2 * STEPS, 2)),
                images=tuple(image(step) for step in range(STEPS)),
                size=(WIDTH, HEIGHT),
                region=(10.0, 0.0, 60.0, 60.0),
                attention=shares if attends else None,
            )
            for clip in CLIPS[: min(2, strips)]
        ),
    )


def image(step: int) -> bytes:
    """A grey frame with a white bar at a place."""
    values = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    values[:, 10 * step : 10 * step + 10] = 255
    written = io.BytesIO()
    Image.fromarray(values).save(written, format="JPEG")
    return written.getvalue()


def flow(clip: str) -> FlowStrip:
    """Motion to the right, of three pixels a frame."""
    motion = np.zeros((2, 2, HEIGHT, WIDTH), np.float16)
    motion[:, 0] = 3
    return FlowStrip(clip, (0, 5), (image(0), image(1)), motion, in_pixels=True)


def write_tubes(folder: Path) -> None:
    """Tubes of all clips, of ten frames, ten pixels beside the true one of the first clip, which begins at frame 2."""
    boxes = np.tile(np.array([10, 10, 20, 20], np.float32), (10 * len(CLIPS), 1))
    np.savez(
        folder / "tubes.npz",
        clips=np.array(CLIPS),
        lengths=np.full(len(CLIPS), 10),
        boxes=boxes,
        scores=np.zeros((len(CLIPS), len(CLASSES)), np.float32),
        true_clips=np.array(CLIPS[:1]),
        true_firsts=np.array([2]),
        true_lengths=np.array([3]),
        true_boxes=np.tile(np.array([20, 10, 20, 20], np.float32), (3, 1)),
    )
