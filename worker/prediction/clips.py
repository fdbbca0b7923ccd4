"""Clips of a user's as a manifest has them: each is decoded from end to end, as the `index` stage does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.errors import DataError
from worker.video.decoding.container import DecodeFailed
from worker.video.decoding.limits import LIMITS
from worker.video.survey.manifest import Clip, Manifest, SplitIds
from worker.video.survey.survey import Failure, SurveyLog, survey

SPLIT = 1


def manifest_of(clips: Sequence[Path], classes: tuple[str, ...], state: Path, threads: int) -> Manifest:
    """Return the manifest of N clips, all of them tested on, in their order.

    Args:
        clips: files.
        classes: names by label; the clips' own labels are not known, and stand as 0.
        state: folder for what decoding finds out.
        threads: decoder processes.

    Raises:
        DataError: a clip is missing or does not decode.
    """
    for clip in clips:
        if not clip.is_file():
            raise DataError(f"{clip}: no such clip")
    paths = [str(clip.resolve()) for clip in clips]
    found = {}
    for path, inspection in survey(Path("/"), dict.fromkeys(paths), SurveyLog(state), threads, LIMITS):
        if isinstance(inspection, Failure):
            raise DataError(str(DecodeFailed(Path(path), *inspection)))
        found[path] = inspection
    entries = tuple(
        Clip(id=f"{number:06d}", path=path, label=0, group=None, **found[path].model_dump())
        for number, path in enumerate(paths)
    )
    ids = tuple(entry.id for entry in entries)
    splits = {SPLIT: SplitIds(train=(), test=ids)}
    return Manifest(dataset="clips", root=Path("/"), classes=classes, clips=entries, splits=splits)
