"""The clips of a split, asked for by number, and what of its train list a training holds out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from services.errors import DataError, UserError
from services.specs import BATCH_NORM_SAMPLES, TrainingSpec
from services.words import counted
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
            f"{part} list {split} of dataset {manifest.dataset}: {counted(len(clips), 'clip')},"
            f" allowed: {least} or more"
        )
    return clips


class Division(NamedTuple):
    """The clips of a training.

    Attributes:
        train: those that are trained on.
        held_out: those that are tried after every epoch; none where the last epoch is kept.
        unit: what was drawn as a whole from the train list: groups, or clips where groups are not known.
    """

    train: tuple[Clip, ...]
    held_out: tuple[Clip, ...] = ()
    unit: Literal["groups", "clips"] | None = None


def divide(manifest: Manifest, split: int, training: TrainingSpec, seed: int) -> Division:
    """Return what is trained on and what is held out; equal arguments give equal parts, in every stage.

    Raises:
        UserError: no such split, or too few groups to hold one out.
        DataError: a list is too short.
    """
    clips = clips_of(manifest, split, "train")
    if training.selection == "last":
        return Division(clips)
    if training.selection == "test":
        return Division(clips, clips_of(manifest, split, "test"))
    grouped = all(clip.group is not None for clip in clips)
    ids = _drawn(clips, training.validation_share, seed, grouped=grouped)
    kept = tuple(clip for clip in clips if clip.id not in ids)
    unit: Literal["groups", "clips"] = "groups" if grouped else "clips"
    if not ids or len(kept) < BATCH_NORM_SAMPLES:
        why = f"since no class of train list {split} has clips of two {unit}"
        raise UserError(f"selection: got 'validation', allowed: 'last', {why}")
    return Division(kept, tuple(clip for clip in clips if clip.id in ids), unit)


def _drawn(clips: Sequence[Clip], share: float, seed: int, *, grouped: bool) -> set[str]:
    """Draw whole groups of each class until they have the share of its clips; one group at least stays."""
    units: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        units[clip.label][f"{clip.group:06d}" if grouped else clip.id].append(clip.id)
    held_out: set[str] = set()
    for label, of_class in sorted(units.items()):
        order = np.random.default_rng((seed, label)).permutation(sorted(of_class)).tolist()
        wanted = share * sum(map(len, of_class.values()))
        taken: list[str] = []
        for unit in order[:-1]:
            if len(taken) >= wanted:
                break
            taken += of_class[unit]
        held_out.update(taken)
    return held_out
