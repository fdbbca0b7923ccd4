"""The clips of a split, asked for by number, and what of its train list a training holds out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from services.datasets.sources import film_of
from services.errors import DataError, UserError
from services.params import HeldOutBy
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
        held_out: those that are tried after every epoch; none where nothing is tried.
        unit: what was drawn as a whole from the train list: groups, or clips where groups are not known.
    """

    train: tuple[Clip, ...]
    held_out: tuple[Clip, ...] = ()
    unit: Literal["groups", "clips"] | None = None


def divide(manifest: Manifest, split: int, training: TrainingSpec, seed: int, by: HeldOutBy = "group") -> Division:
    """Return what is trained on and what is held out; equal arguments give equal parts, in every stage.

    A larger share holds out what a smaller one does, and more.

    Raises:
        UserError: no such split, or too few groups to hold one out.
        DataError: a list is too short.
    """
    clips = clips_of(manifest, split, "train")
    if training.held_out is None:
        return Division(clips)
    if training.held_out == "test":
        return Division(clips, clips_of(manifest, split, "test"))
    names = [_group(clip, by) for clip in clips]
    grouped = None not in names
    units = [clip.id if name is None or not grouped else name for clip, name in zip(clips, names, strict=True)]
    ids = _drawn(clips, units, training.validation_share, seed)
    kept = tuple(clip for clip in clips if clip.id not in ids)
    unit: Literal["groups", "clips"] = "groups" if grouped else "clips"
    if not ids or len(kept) < BATCH_NORM_SAMPLES:
        why = f"since no class of train list {split} has clips of two {unit}"
        asked = "validate: got true, allowed: false"
        said = asked if training.selection == "last" else "selection: got 'validation', allowed: 'last'"
        raise UserError(f"{said}, {why}")
    return Division(kept, tuple(clip for clip in clips if clip.id in ids), unit)


def _group(clip: Clip, by: HeldOutBy) -> str | None:
    if by == "film":
        return film_of(clip.path)
    return None if clip.group is None else f"{clip.group:06d}"


def _drawn(clips: Sequence[Clip], units: Sequence[str], share: float, seed: int) -> set[str]:
    """Draw whole units of each class until they have the share of its clips; one unit at least stays."""
    classes: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for clip, unit in zip(clips, units, strict=True):
        classes[clip.label][unit].append(clip.id)
    held_out: set[str] = set()
    for label, of_class in sorted(classes.items()):
        order = np.random.default_rng((seed, label)).permutation(sorted(of_class)).tolist()
        wanted = share * sum(map(len, of_class.values()))
        taken: list[str] = []
        for unit in order[:-1]:
            if len(taken) >= wanted:
                break
            taken += of_class[unit]
        held_out.update(taken)
    return held_out
