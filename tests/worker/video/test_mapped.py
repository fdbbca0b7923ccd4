from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from worker.video.dataset import FlowSource
from worker.video.manifest import Clip
from worker.video.mapped import OpenReaders


@pytest.fixture
def few_files() -> Iterator[int]:
    """Let this process open few files, as a shell does that allows 1024 to a dataset of 9537 clips."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    yield few
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_clips_than_files_may_be_open(tmp_path: Path, few_files: int) -> None:
    common = {"label": 0, "group": 1, "sha256": "", "fps": 25.0, "width": 4, "height": 4, "frames": 3}
    clips = [Clip(id=f"c{number}", path=f"c{number}.avi", **common) for number in range(few_files)]
    for number, clip in enumerate(clips):
        np.save(tmp_path / f"{clip.id}.npy", np.full((2, 2, 4, 4), number % 256, np.uint8))
    source = FlowSource([tmp_path], stack=1)
    for _ in range(2):
        assert [int(source.read(clip, [1])[0, 0, 0, 0]) for clip in clips] == [
            number % 256 for number in range(few_files)
        ]


def test_the_reader_that_was_unused_for_longest_is_closed() -> None:
    readers: OpenReaders[str] = OpenReaders(2)
    opened: list[str] = []

    def get(name: str) -> str:
        return readers.get(name, lambda: opened.append(name) or name.upper())  # type: ignore[func-returns-value]

    assert [get(name) for name in "abacab"] == ["A", "B", "A", "C", "A", "B"]
    assert opened == ["a", "b", "c", "b"]
    assert len(readers) == 2
