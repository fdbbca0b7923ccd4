"""The `index` stage: a dataset's manifest, from its official lists and from every listed clip, decoded end to end."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from services.datasets.annotations import Annotations, ListedClip
from services.datasets.ucf101 import read_ucf101
from services.errors import DataError
from services.stages import IndexParams
from worker.task import Reporter, Task, write_atomically
from worker.video.decode import DecodeFailed, probe_clip
from worker.video.manifest import MANIFEST_FILE, Clip, Manifest, SplitIds
from worker.video.motion_shapes import generate_motion_shapes

CLIP_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm"}
GROUP = re.compile(r"_g(\d+)_c\d+$")  # UCF101: v_YoYo_g11_c04
NAMED = 5  # surplus clips that a warning names


def run(task: Task, params: IndexParams, report: Reporter) -> dict[str, Any]:
    """Write ``manifest.json``; generate the dataset first where the parameters say so.

    Returns:
        How many clips, classes and frames there are, and how many surplus clips no list names.

    Raises:
        DataError: a folder, list or clip is missing or wrong, or a clip does not decode; the message names file and
        line.
    """
    root, lists = _folders(task, params, report)
    annotations = read_ucf101(lists)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of clips")
    listed = annotations.clips()
    surplus = _compare(root, listed, report)
    clips = _read_clips(task, root, listed, report)
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


def _compare(root: Path, listed: tuple[ListedClip, ...], report: Reporter) -> tuple[str, ...]:
    """Return the clips that no list names; raise for those that are listed and absent."""
    present = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.suffix.lower() in CLIP_SUFFIXES and not path.name.startswith(".")
    }
    missing = [clip for clip in listed if clip.path not in present and not (root / clip.path).is_file()]
    if missing:
        more = f"; {len(missing) - 1} more are missing" if len(missing) > 1 else ""
        raise DataError(f"{missing[0].line}: {root / missing[0].path} does not exist{more}")
    surplus = tuple(sorted(present - {clip.path for clip in listed}))
    if surplus:
        names = ", ".join(surplus[:NAMED]) + (", ..." if len(surplus) > NAMED else "")
        report.warning(f"{len(surplus)} clips in {root} stand in no list and are left out: {names}")
    return surplus


def _read_clips(task: Task, root: Path, listed: tuple[ListedClip, ...], report: Reporter) -> tuple[Clip, ...]:
    clips = []
    with ThreadPoolExecutor(task.threads) as pool:
        try:
            for clip in pool.map(lambda entry: _read_clip(root, entry), listed):
                clips.append(clip)
                report.progress(len(clips), len(listed), "clips")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(sorted(clips, key=lambda clip: clip.id))


def _read_clip(root: Path, listed: ListedClip) -> Clip:
    path = root / listed.path
    try:
        info = probe_clip(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (DecodeFailed, OSError) as error:
        raise DataError(f"{listed.line}: {error}") from error
    clip_id = PurePosixPath(listed.path).with_suffix("").as_posix()
    group = GROUP.search(clip_id)
    return Clip(
        id=clip_id,
        path=listed.path,
        label=listed.label,
        group=int(group[1]) if group else None,
        sha256=digest,
        **info._asdict(),
    )


def _splits(annotations: Annotations) -> dict[int, SplitIds]:
    def ids(clips: tuple[ListedClip, ...]) -> Iterator[str]:
        return (PurePosixPath(clip.path).with_suffix("").as_posix() for clip in clips)

    return {
        number: SplitIds(train=tuple(ids(split.train)), test=tuple(ids(split.test)))
        for number, split in annotations.splits.items()
    }
