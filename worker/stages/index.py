"""The `index` stage: a dataset's manifest, from its official lists and from every listed clip, decoded end to end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from services.datasets.annotations import Annotations, ListedClip
from services.datasets.layouts import read_annotations
from services.datasets.ucf101 import group_of
from services.errors import DataError
from services.stages import IndexParams
from worker.task import Reporter, Task, write_atomically
from worker.video.container import DecodeFailed
from worker.video.files import clip_files
from worker.video.inspection import Inspection
from worker.video.limits import Limits
from worker.video.manifest import MANIFEST_FILE, Clip, Manifest, SplitIds
from worker.video.motion_shapes import generate_motion_shapes
from worker.video.survey import Failure, Ledger, survey

NAMED = 5  # clips that a warning names


def run(task: Task, params: IndexParams, report: Reporter) -> dict[str, Any]:
    """Write ``manifest.json``; generate the dataset first where the parameters say so.

    What is known of a clip lies in ``task.state``, so that a later attempt decodes those only that are left.

    Returns:
        How many clips, classes and frames there are, and how many surplus clips no list names.

    Raises:
        DataError: a folder, list or clip is missing or wrong, or a clip does not decode; the message names file and
        line.
    """
    root, lists = _folders(task, params, report)
    annotations = read_annotations(params.layout, lists)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of clips")
    listed = annotations.clips()
    surplus = _compare(root, annotations, report)
    clips = tuple(sorted(_read_clips(task, root, listed, report), key=lambda clip: clip.id))
    _refuse_equal_ids(clips)
    _tell_differences(clips, report)
    manifest = Manifest(
        dataset=params.dataset,
        root=root,
        classes=annotations.classes,
        clips=clips,
        splits=_splits(annotations),
        surplus=surplus,
    )
    write_atomically(task.output / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())
    frames = sum(clip.frames for clip in clips)
    return {"clips": len(clips), "classes": len(annotations.classes), "frames": frames, "surplus": len(surplus)}


def _folders(task: Task, params: IndexParams, report: Reporter) -> tuple[Path, Path]:
    if params.generator is None:
        return Path(params.root).resolve(), Path(params.annotations).resolve()
    return generate_motion_shapes(
        params.generator,
        task.data_root.resolve(),
        lambda done, total: report.progress(done, total, "clips", "generating"),
    )


def _compare(root: Path, annotations: Annotations, report: Reporter) -> tuple[str, ...]:
    """Return the clips that no list names; raise for those that are used and absent."""
    present = clip_files(root)
    missing = [clip for clip in annotations.clips() if not (root / clip.path).exists()]
    if missing:
        more = f"; {len(missing) - 1} more are missing" if len(missing) > 1 else ""
        raise DataError(f"{missing[0].line}: {root / missing[0].path} does not exist{more}")
    surplus = tuple(sorted(present - {clip.path for clip in annotations.named_clips()}))
    if surplus:
        report.warning(f"{len(surplus)} clips in {root} stand in no list and are left out: {_names(surplus)}")
    return surplus


def _read_clips(task: Task, root: Path, listed: tuple[ListedClip, ...], report: Reporter) -> Iterator[Clip]:
    entries = {clip.path: clip for clip in listed}
    ledger = Ledger(task.state / "inspected")
    for done, (path, found) in enumerate(survey(root, entries, ledger, task.threads, Limits.of(task)), start=1):
        if isinstance(found, Failure):
            raise DataError(f"{entries[path].line}: {DecodeFailed(root / path, *found)}")
        yield _clip(entries[path], found)
        report.progress(done, len(entries), "clips")
    if ledger.trouble:
        report.warning(ledger.trouble)


def _tell_differences(clips: tuple[Clip, ...], report: Reporter) -> None:
    """Say where FFmpeg's programs would show other pictures than are read here, once for each reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        for difference in clip.differences:
            found[difference].append(clip.path)
    for difference, paths in sorted(found.items()):
        report.warning(f"{len(paths)} clips have {difference}: {_names(paths)}")


def _names(paths: Sequence[str]) -> str:
    return ", ".join(paths[:NAMED]) + (", ..." if len(paths) > NAMED else "")


def _clip(listed: ListedClip, found: Inspection) -> Clip:
    return Clip(
        id=_id(listed),
        path=listed.path,
        label=listed.label,
        group=group_of(listed.path),
        **found.model_dump(),
    )


def _id(clip: ListedClip) -> str:
    return PurePosixPath(clip.path).with_suffix("").as_posix()


def _refuse_equal_ids(clips: tuple[Clip, ...]) -> None:
    for first, second in pairwise(clips):
        if first.id == second.id:
            raise DataError(f"{first.path} and {second.path} differ in their extension only")


def _splits(annotations: Annotations) -> dict[int, SplitIds]:
    return {
        number: SplitIds(train=tuple(map(_id, split.train)), test=tuple(map(_id, split.test)))
        for number, split in annotations.splits.items()
    }
