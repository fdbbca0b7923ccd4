"""Decoded frames on disk: the pixels of the decoder, within a bound, safe with several processes."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.input import dataset
from worker.video.input.dataset import RgbSource
from worker.video.input.frames import FrameStore
from worker.video.survey.manifest import Clip

Clips = tuple[Clip, Clip]
BYTES = (12 * 32 * 48 * 3, 7 * 32 * 48 * 3)
HEADER_BYTES = 128


@pytest.fixture
def hashed(clips: Clips) -> Clips:
    first, second = (clip.model_copy(update={"sha256": name * 64}) for name, clip in zip("ab", clips, strict=True))
    return first, second


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "frames"


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.npy"))


def source(root: Path, folder: Path, max_bytes: int = 10**9, cache_bytes: int = 1) -> RgbSource:
    """A source whose memory holds no clip."""
    return RgbSource(root, cache_bytes, FrameStore(folder, max_bytes))


def test_frames_come_from_the_store_once_they_were_decoded(root: Path, hashed: Clips, folder: Path) -> None:
    expected = [decode_clip(root / clip.path)[[5, 0, 5]].transpose(0, 3, 1, 2) for clip in hashed]
    first = source(root, folder)
    for clip, pixels in zip(hashed, expected, strict=True):
        np.testing.assert_array_equal(first.read(clip, [5, 0, 5]).numpy(), pixels)
        (root / clip.path).unlink()
    assert {file.stat().st_size for file in files(folder)} == {size + HEADER_BYTES for size in BYTES}
    later = source(root, folder, cache_bytes=0)
    for reader in (first, later):
        for clip, pixels in zip(hashed, expected, strict=True):
            np.testing.assert_array_equal(reader.read(clip, [5, 0, 5]).numpy(), pixels)
    found = FrameStore(folder, 0).find(hashed[0])
    assert found is not None
    assert isinstance(found.base, mmap.mmap)
    assert not found.flags.writeable


def test_what_reads_a_clip_once_does_not_fill_the_store(root: Path, hashed: Clips, folder: Path) -> None:
    source(root, folder, cache_bytes=0).read(hashed[0], [0])
    assert files(folder) == []


def test_a_full_store_takes_no_more_until_a_collection_made_room(root: Path, hashed: Clips, folder: Path) -> None:
    long, short = hashed
    reader = source(root, folder, BYTES[0] + HEADER_BYTES)
    for clip in hashed:
        reader.read(clip, [0])
    assert len(files(folder)) == 1
    assert source(root, folder, BYTES[0] + HEADER_BYTES).read(short, [6]).shape == (1, 3, 32, 48)
    files(folder)[0].unlink()
    reader.read(short, [0])
    assert files(folder) == []  # believed to be full for a while
    source(root, folder, BYTES[0] + HEADER_BYTES).read(short, [0])
    assert len(files(folder)) == 1
    assert long.id not in source(root, folder)._clips


def test_another_file_or_decoder_has_another_place(root: Path, hashed: Clips, folder: Path) -> None:
    for changes in ({}, {"sha256": "c" * 64}, {"decoder": "other 1"}):
        source(root, folder).read(hashed[0].model_copy(update=changes), [0])
    assert len(files(folder)) == 3
    source(root, folder).read(hashed[0].model_copy(update={"sha256": ""}), [0])
    assert len(files(folder)) == 3


def test_a_torn_file_is_written_again(root: Path, hashed: Clips, folder: Path) -> None:
    source(root, folder).read(hashed[0], [0])
    [file] = files(folder)
    whole = file.read_bytes()
    for torn in (b"", whole[:40], whole[:-1]):
        file.write_bytes(torn)
        np.testing.assert_array_equal(
            source(root, folder).read(hashed[0], [11])[0].numpy(),
            decode_clip(root / hashed[0].path)[11].transpose(2, 0, 1),
        )
        assert file.read_bytes() == whole


def test_a_clip_that_changed_is_refused_and_not_kept(root: Path, hashed: Clips, folder: Path) -> None:
    longer = hashed[1].model_copy(update={"frames": 8})
    with pytest.raises(DecodeFailed, match="manifest has 8 frames, 7 decode"):
        source(root, folder).read(longer, [0])
    assert files(folder) == []


def test_a_disk_that_takes_no_file_stops_nothing(root: Path, hashed: Clips, folder: Path) -> None:
    reader = source(root, folder)
    address = FrameStore(folder, 1)._address(hashed[0])
    address.with_name(f".{address.name}.{os.getpid()}.tmp").mkdir(parents=True)  # in the way of what is written
    for _ in range(2):
        assert reader.read(hashed[0], [3]).shape == (1, 3, 32, 48)


READ_ALL = """
import hashlib, pickle, sys
from pathlib import Path
reader, clips = pickle.loads(Path(sys.argv[1]).read_bytes())
print(*(hashlib.sha256(reader.read(clip, [1, 4]).numpy().tobytes()).hexdigest() for clip in clips * 3))
"""


@pytest.mark.long  # a folder is filled and read by one process above
def test_processes_share_a_folder(root: Path, hashed: Clips, folder: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.write_bytes(pickle.dumps((source(root, folder), hashed)))
    command = [sys.executable, "-c", READ_ALL, str(job)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [reader.communicate(timeout=240)[0].split() for reader in readers]
    expected = [
        hashlib.sha256(decode_clip(root / clip.path)[[1, 4]].transpose(0, 3, 1, 2).tobytes()).hexdigest()
        for clip in hashed
    ]
    assert found == [expected * 3] * 3
    assert len(files(folder)) == 2
    assert not list(folder.rglob("*.tmp"))


def test_a_source_that_is_sent_to_a_loader_worker_takes_no_frames_along(
    root: Path, hashed: Clips, folder: Path
) -> None:
    reader = source(root, folder)
    expected = reader.read(hashed[0], [2]).numpy()
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent).read(hashed[0], [2]).numpy(), expected)


def test_opening_is_a_use(root: Path, hashed: Clips, folder: Path) -> None:
    source(root, folder).read(hashed[0], [0])
    [file] = files(folder)
    os.utime(file, (1, 1))
    source(root, folder).read(hashed[0], [0])
    assert file.stat().st_mtime > 1
    assert dataset.RgbSource(root)._store is None
