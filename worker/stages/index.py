"""The `index` stage: a dataset's manifest, from its official lists and from every listed clip, decoded end to end."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.datasets.annotations import Annotations, ListedClip
from services.datasets.layouts import digest_of_lists, read_annotations, require_splits
from services.datasets.official import shared_groups
from services.datasets.sources import group_in_class
from services.datasets.ucf101 import group_of
from services.errors import DataError
from services.planning.linter import copies, of_lists
from services.stages import IndexParams
from services.stores.files import write_atomically
from services.words import counted
from worker.contract import Reporter, Task
from worker.video.decoding.container import DecodeFailed
from worker.video.decoding.limits import Limits
from worker.video.generated.motion_shapes import generate_motion_shapes
from worker.video.survey.files import clip_files
from worker.video.survey.inspection import Inspection
from worker.video.survey.manifest import MANIFEST_FILE, Clip, Manifest, SplitIds
from worker.video.survey.survey import Failure, SurveyLog, survey

NAMED = 5  # clips and classes that a warning names
COMMON = 8  # sizes of pictures, and rates, that the summary has


def run(task: Task, params: IndexParams, report: Reporter) -> dict[str, Any]:
    """Write ``manifest.json``; generate the dataset first where the parameters say so.

    What is known of a clip lies in ``task.state``, so that a later attempt decodes those only that are left.

    All that the lists say is checked, and every clip looked for, before the first clip is decoded.

    Returns:
        How many clips, classes and frames there are, the ``names`` of the classes by label, how many surplus clips no
        list names, and how many listed ones are left out (``excluded``); ``lists``, the hash of the lists, and
        ``digest``, that of lists and clips; ``shared``, the places of clips that several splits test on; ``findings``
        of the linter that are flagged. For people: clips to train and to test by split, ``groups`` of clips that share
        a scene and what of their names tells it (``grouped_by``: ``numbers``, ``films``, or None), clips by class
        (``class_clips``), bytes of all clips, and how many clips have which size (pixels) and rate (frames a second),
        the most common first.

    Raises:
        DataError: a folder, list, split or clip is missing or wrong, a clip does not decode, or a group of clips is on
        both sides of a split that the dataset has; the message names file and line.
    """
    root, lists = _folders(task, params, report)
    digest = digest_of_lists(params.layout, lists)
    everything = read_annotations(params.layout, lists)
    require_splits(everything, params.splits, lists)
    annotations = everything.without(params.exclude)
    findings = [(split, finding) for split in params.splits for finding in of_lists(annotations, [split])]
    wrong = [finding.sentence for _, finding in findings if finding.severity == "refused"]
    if wrong:
        raise DataError(f"{lists}: {'; '.join(wrong)}")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of clips")
    surplus = tuple(sorted(clip_files(root) - {clip.path for clip in everything.named_clips()}))
    _require_clips(root, annotations)
    doubts = [*_doubts_about_surplus(root, surplus), *_doubts_about_lists(annotations)]
    _warn(report, doubts)
    listed = annotations.clips()
    clips = tuple(sorted(_read_clips(task, root, listed, report), key=lambda clip: clip.id))
    hashes = {clip.path: clip.sha256 for clip in clips}
    copied = [(split, finding) for split in annotations.splits for finding in copies(annotations, split, hashes)]
    later = [finding.sentence for _, finding in copied]
    later += [*_doubts_about_repeats(annotations, hashes), *_differences(clips)]
    _warn(report, [*doubts, *later] if later else [])
    manifest = Manifest(
        dataset=params.dataset,
        root=root,
        classes=annotations.classes,
        clips=clips,
        splits=_splits(annotations),
        surplus=surplus,
    )
    write_atomically(task.output / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())
    return {
        "clips": len(clips),
        "classes": len(annotations.classes),
        "names": list(annotations.classes),
        "frames": sum(clip.frames for clip in clips),
        "surplus": len(surplus),
        "excluded": len(params.exclude),
        "lists": digest,
        "digest": digest_of_data(manifest),
        **_for_people(manifest),
        "findings": [{**asdict(finding), "split": split} for split, finding in (*findings, *copied)],
        "shared": [{str(split): place for split, place in found.items()} for found in annotations.shared_test_clips()],
    }


def _for_people(manifest: Manifest) -> dict[str, Any]:
    counts = Counter(clip.label for clip in manifest.clips)
    return {
        "splits": {
            str(number): {"train": len(split.train), "test": len(split.test)}
            for number, split in sorted(manifest.splits.items())
        },
        **_groups(manifest.clips),
        "class_clips": [(name, counts[label]) for label, name in enumerate(manifest.classes)],
        "bytes": sum(clip.size for clip in manifest.clips),
        "sizes": _most(f"{clip.width} x {clip.height}" for clip in manifest.clips),
        "rates": _most(f"{clip.fps:g}" for clip in manifest.clips),
    }


def _groups(clips: Sequence[Clip]) -> dict[str, Any]:
    """Say how many groups the clips have, and by what in their names; None where a clip has none."""
    names = [(clip.label, group_in_class(clip.path)) for clip in clips]
    kinds = {type(name) for _, name in names}
    by = "numbers" if kinds == {int} else "films" if kinds == {str} else None
    return {"groups": None if by is None else len(set(names)), "grouped_by": by}


def _most(values: Iterable[str]) -> list[tuple[str, int]]:
    """Return the values that most clips have, each with how many."""
    return Counter(values).most_common(COMMON)


def digest_of_data(manifest: Manifest) -> str:
    """Return the SHA-256 of what can be measured on: classes by label, clips by split, and each clip's bytes."""
    splits = {number: [sorted(split.train), sorted(split.test)] for number, split in sorted(manifest.splits.items())}
    content = [manifest.classes, splits, [[clip.id, clip.label, clip.sha256] for clip in manifest.clips]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _folders(task: Task, params: IndexParams, report: Reporter) -> tuple[Path, Path]:
    if params.generator is None:
        return Path(params.root).resolve(), Path(params.annotations).resolve()
    return generate_motion_shapes(
        params.generator,
        task.data_root.resolve(),
        lambda done, total: report.progress(done, total, "clips", "generating"),
    )


def _require_clips(root: Path, annotations: Annotations) -> None:
    """Raise for clips that are used and absent."""
    missing = [clip for clip in annotations.clips() if not (root / clip.path).exists()]
    if missing:
        more = f"; {len(missing) - 1} more are missing" if len(missing) > 1 else ""
        raise DataError(f"{missing[0].line}: {root / missing[0].path} does not exist{more}")


def _warn(report: Reporter, doubts: Sequence[str]) -> None:
    """Tell all at once: people are shown the last warning of a stage."""
    if doubts:
        report.warning("; ".join(doubts))


def _doubts_about_surplus(root: Path, surplus: Sequence[str]) -> Iterator[str]:
    if surplus:
        stand, are = ("stands", "is") if len(surplus) == 1 else ("stand", "are")
        yield f"{counted(len(surplus), 'clip')} in {root} {stand} in no list and {are} left out: {_some(surplus)}"


def _doubts_about_lists(annotations: Annotations) -> Iterator[str]:
    """Yield what makes numbers mean less than they seem to: classes without clips, scenes on both sides of a split."""
    for number, split in annotations.splits.items():
        for part, clips in (("train", split.train), ("test", split.test)):
            lacking = sorted(set(range(len(annotations.classes))) - {clip.label for clip in clips})
            if lacking:
                names = _some([annotations.classes[label] for label in lacking])
                yield f"split {number}: {counted(len(lacking), 'class', 'has', 'have')} no clip to {part}: {names}"
    leaks = shared_groups(annotations, {clip.path: group_in_class(clip.path) for clip in annotations.clips()})
    if leaks:
        yield f"scenes on both sides of a split: {_some(leaks)}"


def _doubts_about_repeats(annotations: Annotations, hashes: Mapping[str, str]) -> Iterator[str]:
    """Yield how many test clips of a split are tested under another name too."""
    for number, split in annotations.splits.items():
        repeats = len(split.test) - len({hashes[clip.path] for clip in split.test})
        if repeats:
            twice = counted(repeats, "test clip", "is a copy of another, and counts", "are copies of others, and count")
            yield f"split {number}: {twice} more than once"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _read_clips(task: Task, root: Path, listed: tuple[ListedClip, ...], report: Reporter) -> Iterator[Clip]:
    entries = {clip.path: clip for clip in listed}
    log = SurveyLog(task.state / "inspected")
    for done, (path, found) in enumerate(survey(root, entries, log, task.threads, Limits.of(task)), start=1):
        if isinstance(found, Failure):
            raise DataError(f"{entries[path].line}: {DecodeFailed(root / path, *found)}")
        yield _clip(entries[path], found)
        report.progress(done, len(entries), "clips")
    if log.trouble:
        report.warning(log.trouble)


def _differences(clips: Sequence[Clip]) -> Iterator[str]:
    """Yield where FFmpeg's programs would show other pictures than are read here, once for each reason."""
    found: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        for difference in clip.differences:
            found[difference].append(clip.path)
    for difference, paths in sorted(found.items()):
        yield f"{counted(len(paths), 'clip', 'has', 'have')} {difference}: {_some(paths)}"


def _clip(listed: ListedClip, found: Inspection) -> Clip:
    return Clip(
        id=listed.id,
        path=listed.path,
        label=listed.label,
        group=group_of(listed.path),
        **found.model_dump(),
    )


def _splits(annotations: Annotations) -> dict[int, SplitIds]:
    return {
        number: SplitIds(train=tuple(clip.id for clip in split.train), test=tuple(clip.id for clip in split.test))
        for number, split in annotations.splits.items()
    }
