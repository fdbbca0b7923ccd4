"""The test clips of a split as a dataset's official lists have them, and what scores of them must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.datasets.layouts import LAYOUTS
from services.datasets.lists import read_lists
from services.datasets.motion_shapes import CLASSES, MotionShapesParams, listed_clips
from services.db.tables import DatasetRow
from services.errors import Conflict, DataError, InvalidRequest
from services.scores.external import ExternalScores
from services.scores.files import ScoreFile, ScoreKind
from services.specs import Stream

NAMED = 3
"""Clips that a message names; of the others it says how many there are."""
TOLERANCE = 1e-3
"""By which the probabilities of a clip may miss a sum of 1."""


@dataclass(frozen=True)
class OfficialClips:
    """What a split tests on.

    Attributes:
        dataset: its name.
        split: its number.
        classes: K names by label.
        clips: ids of the N clips, sorted.
        labels: theirs.
        paths: the id of each clip by its path, as the lists name it.
    """

    dataset: str
    split: int
    classes: tuple[str, ...]
    clips: tuple[str, ...]
    labels: tuple[int, ...]
    paths: dict[str, str]


def official_clips(row: DatasetRow, split: int) -> OfficialClips:
    """Read what a split of a registered dataset tests on, without the clips that it leaves out.

    Call it outside a transaction: it reads files.

    Raises:
        InvalidRequest: the dataset lacks the split.
        Conflict: the lists cannot be read here.
    """
    if split not in row.splits:
        raise InvalidRequest("split", split, ", ".join(map(str, row.splits)))
    if row.generator is not None:
        found = listed_clips(MotionShapesParams.model_validate(row.generator), split, "test")
        return _clips_of(row, split, CLASSES, [(path, path.rsplit(".", 1)[0], label) for path, label in found])
    layout = next(layout for layout in LAYOUTS if layout == row.layout)
    try:
        lists = read_lists(layout, row.annotations, row.excluded)
    except DataError as error:
        raise Conflict(f"dataset {row.name!r}: its lists cannot be read: {error}") from error
    if lists is None:
        raise Conflict(f"dataset {row.name!r}: the API does not see the folder of its lists, {row.annotations}")
    if split not in lists.annotations.splits:
        raise Conflict(f"dataset {row.name!r}: {row.annotations} has no lists of split {split}")
    clips = lists.annotations.splits[split].test
    return _clips_of(row, split, lists.annotations.classes, [(clip.path, clip.id, clip.label) for clip in clips])


def _clips_of(
    row: DatasetRow, split: int, classes: Sequence[str], clips: Sequence[tuple[str, str, int]]
) -> OfficialClips:
    ordered = sorted(clips, key=lambda clip: clip[1])
    ids, labels = tuple(name for _, name, _ in ordered), tuple(label for *_, label in ordered)
    return OfficialClips(row.name, split, tuple(classes), ids, labels, {path: name for path, name, _ in ordered})


def checked(found: ExternalScores, test: OfficialClips, streams: tuple[Stream, ...], kind: ScoreKind) -> ScoreFile:
    """Return scores that a user brought as a score file, in the order of the dataset's clips and classes.

    Raises:
        InvalidRequest: a class, clip or score is missing, doubled, unknown or wrong; the message names the first clips
            and says how many more there are.
    """
    columns = _columns(found, test)
    clips = [test.paths.get(clip, clip) for clip in found.clips]
    _require_clips(clips, test)
    rows = {clip: row for row, clip in enumerate(clips)}
    order = np.array([rows[clip] for clip in test.clips])
    _require_labels(found, order, test)
    scores = found.scores[order][:, columns]
    _require_scores(scores, kind, test)
    return ScoreFile(
        dataset=test.dataset,
        split=test.split,
        streams=streams,
        seed=0,  # it stands for every seed
        classes=test.classes,
        clips=test.clips,
        labels=np.array(test.labels),
        scores=scores,
        kind=kind,
    )


def some(names: Iterable[str]) -> str:
    """Name the first clips or classes, and say how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more


def _columns(found: ExternalScores, test: OfficialClips) -> list[int]:
    allowed = f"the {len(test.classes)} classes of {test.dataset}, each once"
    columns = {name: column for column, name in enumerate(found.classes)}
    for what, names in (
        ("two columns of", [name for name, count in Counter(found.classes).items() if count > 1]),
        ("no class named", [name for name in found.classes if name not in test.classes]),
        ("no scores of", [name for name in test.classes if name not in columns]),
    ):
        if names:
            raise InvalidRequest("classes", f"{what} {some(names)}", allowed)
    return [columns[name] for name in test.classes]


def _require_clips(clips: Sequence[str], test: OfficialClips) -> None:
    allowed = f"each of the {len(test.clips):,} test clips of split {test.split} of {test.dataset} once"
    there, listed = set(clips), set(test.clips)
    for what, names in (
        ("unknown", [clip for clip in clips if clip not in listed]),
        ("doubled", [clip for clip, count in Counter(clips).items() if count > 1]),
        ("missing", [clip for clip in test.clips if clip not in there]),
    ):
        if names:
            raise InvalidRequest("clips", f"{what}: {some(names)}", allowed)


def _require_labels(found: ExternalScores, order: np.ndarray, test: OfficialClips) -> None:
    if found.labels is None:
        return
    other = [
        f"{clip} ({found.labels[row]})"
        for clip, label, row in zip(test.clips, test.labels, order, strict=True)
        if found.labels[row] not in (str(label), test.classes[label])
    ]
    if other:
        allowed = f"labels as the lists of {test.dataset} have them: a class's name, or its number from 0"
        raise InvalidRequest("labels", f"others: {some(other)}", allowed)


def _require_scores(scores: np.ndarray, kind: ScoreKind, test: OfficialClips) -> None:
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        names = some(test.clips[row] for row in np.flatnonzero(wrong))
        raise InvalidRequest("scores", f"no finite numbers: {names}", "finite numbers")
    if kind == "probabilities":
        wrong = (scores < 0).any(axis=1) | (np.abs(scores.sum(axis=1, dtype=np.float64) - 1) > TOLERANCE)
    if wrong.any():
        names = some(test.clips[row] for row in np.flatnonzero(wrong))
        allowed = "for each clip numbers from 0 to 1 that sum to 1; hint: kind=logits takes scores of any scale"
        raise InvalidRequest("scores", f"no probabilities: {names}", allowed)
