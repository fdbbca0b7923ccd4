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
        _require_file(clip)
    paths = [_in_utf8(clip, state / f"{number:06d}") for number, clip in enumerate(clips)]
    given, found = dict(zip(paths, clips, strict=True)), {}
    for path, inspection in survey(Path("/"), given, SurveyLog(state), threads, LIMITS):
        if isinstance(inspection, Failure):
            raise DataError(str(DecodeFailed(given[path], *inspection)))
        found[path] = inspection
    entries = tuple(
        Clip(id=f"{number:06d}", path=path, label=0, group=None, **found[path].model_dump())
        for number, path in enumerate(paths)
    )
    ids = tuple(entry.id for entry in entries)
    splits = {SPLIT: SplitIds(train=(), test=ids)}
    return Manifest(dataset="clips", root=Path("/"), classes=classes, clips=entries, splits=splits)


def _require_file(clip: Path) -> None:
    if clip.is_dir():
        raise DataError(f"{clip}: is a folder, allowed: a clip's file")
    if not clip.exists():
        raise DataError(f"{clip}: no such clip")
    if not clip.is_file():
        raise DataError(f"{clip}: is no regular file, allowed: a clip's file")


def _in_utf8(clip: Path, link: Path) -> str:
    """Return the path of a clip; through a link where it is no UTF-8, which a manifest cannot hold."""
    path = str(clip.resolve())
    try:
        path.encode()
    except UnicodeEncodeError:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
        return str(link)
    return path
