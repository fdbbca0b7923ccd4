"""Clips of a user's, wherever they lie and whatever they are called, as a predictor takes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.errors import DataError
from worker.prediction.clips import manifest_of
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import Manifest

NO_TEXT = os.fsdecode(b"\xff\xfe.avi")


def read(folder: Path, *clips: Path) -> Manifest:
    return manifest_of(clips, ("Dark", "Light"), folder / "state" / "survey", threads=1)


def test_each_has_a_place_of_its_own_whatever_its_name(tmp_path: Path) -> None:
    clips = [tmp_path / name for name in ("a b.avi", NO_TEXT, "a\nb%03d.avi", "a b.avi")]
    for number, clip in enumerate(clips[:3]):
        write_avi(clip, np.zeros((3 + number, 16, 16, 3), np.uint8))
    manifest = Manifest.model_validate_json(read(tmp_path, *clips).model_dump_json())
    assert [clip.frames for clip in manifest.clips] == [3, 4, 5, 3]
    assert len({clip.id for clip in manifest.clips}) == len(clips)
    for clip, found in zip(clips, manifest.clips, strict=True):
        assert (manifest.root / found.path).samefile(clip)


@pytest.mark.long
def test_one_that_does_not_decode_goes_by_the_name_that_was_given(tmp_path: Path) -> None:
    clip = tmp_path / NO_TEXT
    clip.write_bytes(b"no clip")
    with pytest.raises(DataError) as refused:
        read(tmp_path, clip)
    assert str(refused.value).startswith(f"{clip}: frame 0: ")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "no such clip"),
        (Path.mkdir, "is a folder, allowed: a clip's file"),
        (os.mkfifo, "is no regular file, allowed: a clip's file"),
        (lambda path: path.symlink_to(path), "no such clip"),
    ],
)
def test_what_is_no_file_is_not_opened(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    make(path)
    with pytest.raises(DataError) as refused:
        read(tmp_path, path)
    assert str(refused.value) == f"{path}: {words}"
    with pytest.raises(DataError, match="no such clip"):
        read(tmp_path, tmp_path / "a\0b")
