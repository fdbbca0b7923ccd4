"""The clips of a split, asked for by number."""

from __future__ import annotations

from services.errors import DataError, UserError
from services.specs import BATCH_NORM_SAMPLES
from worker.video.survey.manifest import Clip, Manifest, Part


def clips_of(manifest: Manifest, split: int, part: Part) -> tuple[Clip, ...]:
    """Return the clips of one part of a split, in the order of its list.

    Raises:
        UserError: the dataset has no such split.
        DataError: the list is empty, or too short for batch norm to train on.
    """
    if split not in manifest.splits:
        raise UserError(f"splits: got {split}, allowed: {sorted(manifest.splits)} of dataset {manifest.dataset}")
    clips = manifest.clips_of(split, part)
    least = BATCH_NORM_SAMPLES if part == "train" else 1
    if len(clips) < least:
        raise DataError(
            f"{part} list {split} of dataset {manifest.dataset}: {len(clips)} clips, allowed: {least} or more"
        )
    return clips
