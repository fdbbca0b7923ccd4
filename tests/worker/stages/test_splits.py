"""The clips of a split, and lists that are too short."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.errors import DataError, UserError
from services.words import counted
from tests.worker.stages.conftest import manifest_of
from worker.stages.splits import clips_of
from worker.video.survey.manifest import SplitIds


def test_the_clips_of_a_list_come_in_its_order(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, per_class=3)
    assert [clip.id for clip in clips_of(manifest, 1, "test")] == list(manifest.splits[1].test)
    assert clips_of(manifest, 2, "train") == clips_of(manifest, 1, "test")
    with pytest.raises(UserError, match=r"splits: got 3, allowed: \[1, 2\] of dataset shades"):
        clips_of(manifest, 3, "train")


@pytest.mark.parametrize(("part", "count", "least"), [("train", 0, 2), ("train", 1, 2), ("test", 0, 1)])
def test_a_list_that_is_too_short_is_a_fault_of_the_data(tmp_path: Path, part: str, count: int, least: int) -> None:
    whole = manifest_of(tmp_path, per_class=3)
    ids = {"train": whole.splits[1].train, "test": whole.splits[1].test, part: whole.splits[1].train[:count]}
    short = whole.model_copy(update={"splits": {1: SplitIds.model_validate(ids)}})
    words = f"{part} list 1 of dataset shades: {counted(count, 'clip')}, allowed: {least} or more"
    with pytest.raises(DataError, match=words):
        clips_of(short, 1, part)  # type: ignore[arg-type]
    other = "test" if part == "train" else "train"
    assert clips_of(short, 1, other)  # type: ignore[arg-type]
