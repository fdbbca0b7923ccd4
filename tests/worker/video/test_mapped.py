from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.specs import FlowCodec
from worker.video.decoding.decode import MAX_CLIPS
from worker.video.flow.storage import SUFFIXES, encode_flow
from worker.video.input.dataset import FlowSource, RgbSource
from worker.video.input.frames import FrameStore
from worker.video.mapped import FEW, USUAL_MAPS, MappedArray, OpenReaders, Use, half_of, map_limit, most_readers
from worker.video.survey.manifest import Clip


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


def test_readers_are_no_more_than_the_kernel_allows_mappings(tmp_path: Path, few_files: int) -> None:
    """Docker allows a process a million files, and systemd any number; the kernel's 65,530 mappings are for all."""
    for files in (resource.RLIM_INFINITY, 1_048_576):
        assert half_of(files, USUAL_MAPS) == USUAL_MAPS // 2
        assert half_of(files, 1000) == 500
    assert (half_of(64, USUAL_MAPS), half_of(1, 1)) == (32, 1)
    assert (most_readers("again"), most_readers("once")) == (few_files // 2, FEW)
    (tmp_path / "limit").write_text("1000\n")
    assert (map_limit(tmp_path / "limit"), map_limit(tmp_path / "none")) == (1000, USUAL_MAPS)


def maps_of(folder: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(folder))


@pytest.mark.parametrize(("use", "kept"), [("once", FEW), ("again", 30)])
@pytest.mark.parametrize("codec", ["raw", "png"])
def test_what_stays_open_follows_the_use_of_clips(tmp_path: Path, use: Use, kept: int, codec: FlowCodec) -> None:
    common = {"label": 0, "group": 1, "sha256": "", "fps": 25.0, "width": 4, "height": 4, "frames": 3}
    clips = [Clip(id=f"c{number}", path=f"c{number}.avi", **common) for number in range(30)]
    for clip in clips:
        content = encode_flow(np.zeros((2, 2, 4, 4), np.uint8), codec)
        (tmp_path / f"{clip.id}{SUFFIXES[codec]}").write_bytes(content)
    source = FlowSource([tmp_path], stack=1, use=use)
    for clip in clips:
        source.read(clip, [1])
    assert maps_of(tmp_path) == kept
    del source
    assert maps_of(tmp_path) == 0


def test_frames_on_disk_stay_open_as_their_use_says(tmp_path: Path) -> None:
    common = {"label": 0, "group": 1, "fps": 25.0, "width": 4, "height": 4, "frames": 2}
    clips = [Clip(id=f"c{number}", path="x", sha256=f"{number:064x}", **common) for number in range(30)]
    whole = FrameStore(tmp_path, 10**6)
    for number, clip in enumerate(clips):
        whole.add(clip, lambda number=number: np.full((2, 4, 4, 3), number, np.uint8))
    once = FrameStore(tmp_path, 10**6, "once")
    assert [int(once.find(clip)[0, 0, 0, 0]) for clip in clips] == list(range(30))  # type: ignore[index]
    assert maps_of(tmp_path) == 30 + FEW


def test_packets_are_remembered_as_their_use_says(root: Path) -> None:
    """`cache_bytes=0` says that each clip is read once."""
    readers = [RgbSource(root, cache_bytes=number)._reader for number in (0, 1)]
    assert [reader._max_clips for reader in readers] == [FEW, MAX_CLIPS]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text", b"PK\x05\x06" + bytes(18)])
def test_a_file_without_an_array_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        MappedArray(tmp_path / "x.npy")


def test_a_mapped_array_is_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6).reshape(2, 3))
    array = MappedArray(tmp_path / "x.npy")
    np.testing.assert_array_equal(array.view, [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match="read-only"):
        array.view[0, 0] = 1
