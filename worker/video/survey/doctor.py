"""The doctor of a dataset: its lists against the official ones, its files against its lists, each clip decoded.

``twostream dataset check`` runs it as ``python -m worker.video.survey.doctor``: the command line has no video library.
It writes JSON lines: ``{"done", "total"}`` while it works, at last ``{"report"}``. What it finds out about a clip is
kept in the folder ``--state``, so that a second run asks about new and changed files only. What goes wrong beside the
report stands in standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

from services.datasets.annotations import Annotations, read_lines
from services.datasets.layouts import LAYOUTS, Layout, read_annotations
from services.datasets.official import OFFICIAL, deviations, shared_groups
from services.datasets.sources import group_in_class
from services.errors import DataError
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.survey.files import clip_files, printable
from worker.video.survey.inspection import DECODER, Inspection, Timing
from worker.video.survey.survey import Failure, Found, SurveyLog, survey


class Report(BaseModel):
    """What the doctor found; lists hold paths below the root, or words for people.

    Attributes:
        clips: paths that the lists name, without those that are left out.
        excluded: how many are left out.
        present: how many of them there are.
        frames: of all clips that decode.
        deviations: where the lists differ from the official ones; None where the dataset is none of those.
        leaks: groups of clips on both sides of a split.
        missing: listed and not there.
        surplus: there and in no list.
        duplicates: groups of clips with equal bytes.
        undecodable: clips that do not decode, with frame and reason.
        miscounted: clips whose header declares another number of frames, with both.
        differing: clips of which FFmpeg's programs would show other pictures than are read here, with why.
        fps, sizes, codecs, timing, pixel_aspects, pixel_formats: how many clips have each.
        audio, others: how many clips have each such stream beside the one that is read.
        interlaced, turned, mirrored: how many clips are.
        decoder: what decoded them.
    """

    model_config = ConfigDict(frozen=True)

    root: str
    classes: int
    clips: int
    excluded: int
    present: int
    frames: int
    deviations: tuple[str, ...] | None
    leaks: tuple[str, ...]
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]
    undecodable: dict[str, str]
    miscounted: dict[str, str]
    differing: dict[str, str]
    fps: dict[str, int]
    sizes: dict[str, int]
    codecs: dict[str, int]
    timing: dict[Timing, int]
    pixel_aspects: dict[str, int]
    pixel_formats: dict[str, int]
    audio: dict[str, int]
    others: dict[str, int]
    interlaced: int
    turned: int
    mirrored: int
    decoder: str

    @property
    def healthy(self) -> bool:
        """Whether experiments can run: no clip is missing or broken, and no group leaks."""
        return not (self.missing or self.undecodable or self.leaks)


class ExaminedFolders(NamedTuple):
    """Where a dataset lies, and where the doctor keeps its findings; ``exclude`` names listed clips to leave out."""

    root: Path
    lists: Path
    state: Path
    exclude: Path | None = None


def examine(
    folders: ExaminedFolders,
    layout: Layout,
    official: str | None,
    threads: int,
    tell: Callable[[int, int], None],
    limits: Limits = LIMITS,
) -> Report:
    """Examine a dataset.

    Args:
        folders: of clips, lists and findings.
        layout: of the lists.
        official: ``ucf101`` or ``hmdb51`` if the lists should be theirs.
        threads: decoder processes.
        tell: called with how many clips are done, and how many there are.
        limits: how large frames may be.

    Raises:
        DataError: a list is missing or wrong, or there is no folder of clips, or one that cannot be read.
    """
    excluded = [] if folders.exclude is None else [path for _, path in read_lines(folders.exclude)]
    annotations = read_annotations(layout, folders.lists, excluded)
    if not folders.root.is_dir():
        raise DataError(f"{folders.root}: no such folder of clips")
    files = clip_files(folders.root) - set(excluded)
    named = {clip.path for clip in annotations.named_clips()}
    present = sorted(path for path in named if (folders.root / path).exists())  # a link may lead nowhere
    found: dict[str, Found] = {}
    log = SurveyLog(folders.state)
    for path, finding in survey(folders.root, present, log, threads, limits):
        found[path] = finding
        tell(len(found), len(present))
    if log.trouble:
        sys.stderr.write(f"{log.trouble}\n")
    return _report(folders.root, annotations, official, files, found, len(excluded))


def _report(
    root: Path,
    annotations: Annotations,
    official: str | None,
    files: set[str],
    found: Mapping[str, Found],
    excluded: int,
) -> Report:
    named = {clip.path for clip in annotations.named_clips()}
    whole = {path: finding for path, finding in found.items() if isinstance(finding, Inspection)}
    failed = {path: finding for path, finding in found.items() if isinstance(finding, Failure)}
    timing = Counter(clip.timing for clip in whole.values())
    return Report(
        root=printable(str(root)),
        classes=len(annotations.classes),
        clips=len(named),
        excluded=excluded,
        present=len(found),
        frames=sum(clip.frames for clip in whole.values()),
        deviations=None if official is None else deviations(annotations, OFFICIAL[official]),
        leaks=shared_groups(annotations, {path: group_in_class(path) for path in named}),
        missing=tuple(sorted(named - found.keys())),
        surplus=tuple(sorted(files - named)),
        duplicates=_duplicates(whole),
        undecodable={path: f"frame {failure.frame}: {failure.reason}" for path, failure in failed.items()},
        miscounted={
            path: f"declares {clip.declared}, decodes {clip.frames}"
            for path, clip in whole.items()
            if clip.declared not in (0, clip.frames)
        },
        differing={path: "; ".join(clip.differences) for path, clip in whole.items() if clip.differences},
        fps=_counts(f"{clip.fps:.2f}" for clip in whole.values()),
        sizes=_counts(f"{clip.width}x{clip.height}" for clip in whole.values()),
        codecs=_counts(clip.codec for clip in whole.values()),
        timing={kind: timing[kind] for kind in get_args(Timing) if timing[kind]},
        pixel_aspects=_counts(clip.pixel_aspect for clip in whole.values()),
        pixel_formats=_counts(clip.pixel_format for clip in whole.values()),
        audio=_counts(audio for clip in whole.values() for audio in clip.audio or ("none",)),
        others=_counts(other for clip in whole.values() for other in clip.others),
        interlaced=sum(clip.interlaced for clip in whole.values()),
        turned=sum(clip.turns > 0 for clip in whole.values()),
        mirrored=sum(clip.mirrored for clip in whole.values()),
        decoder=DECODER,
    )


def _counts(values: object) -> dict[str, int]:
    return dict(Counter(values).most_common())  # type: ignore[call-overload]


def _duplicates(clips: Mapping[str, Inspection]) -> tuple[tuple[str, ...], ...]:
    by_hash: dict[str, list[str]] = defaultdict(list)
    for path, clip in clips.items():
        by_hash[clip.sha256].append(path)
    return tuple(tuple(paths) for paths in by_hash.values() if len(paths) > 1)


def main(arguments: list[str]) -> int:
    """Examine a dataset and write JSON lines; 2 where the lists or folders are wrong, else 0."""
    parser = argparse.ArgumentParser(prog="python -m worker.video.survey.doctor")
    for name in ("root", "lists", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--exclude", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="ucf101")
    parser.add_argument("--official", choices=sorted(OFFICIAL))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-frame-pixels", type=int, default=LIMITS.pixels)
    options = parser.parse_args(arguments)

    def tell(done: int, total: int) -> None:
        sys.stdout.write(f'{{"done": {done}, "total": {total}}}\n')
        sys.stdout.flush()

    folders = ExaminedFolders(options.root, options.lists, options.state, options.exclude)
    try:
        limits = Limits(pixels=options.max_frame_pixels)
        report = examine(folders, options.layout, options.official, options.threads, tell, limits)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps({"report": report.model_dump(mode="json")}) + "\n")  # ASCII, whatever the locale
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
