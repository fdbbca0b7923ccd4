"""Decoded frames as arrays: by the matrix and range that they carry, in eight bits, of some size."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from worker.video.decoding.decode import FrameReader, decode_clip, iterate_frames
from worker.video.generated.motion_shapes import write_avi

SHARED = Path(__file__).parents[5] / "shared/data/clips/edge-cases"


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
def test_the_matrix_and_range_that_a_frame_carries_are_used() -> None:
    path = SHARED / "bt709_full_range.mp4"
    with av.open(str(path)) as container:
        planes = next(container.decode(video=0)).to_ndarray().astype(float)
    y, u, v = planes[:720], planes[720:900].reshape(360, 640), planes[900:].reshape(360, 640)
    u, v = (plane.repeat(2, 0).repeat(2, 1) - 128 for plane in (u, v))
    red, blue = y + 1.5748 * v, y + 1.8556 * u  # ITU-R BT.709, full range
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(np.stack([red, green, blue], -1), 0, 255)
    assert np.abs(next(iterate_frames(path)) - expected).mean() < 1
    grey = next(iterate_frames(path, "grey"))
    assert np.abs(grey - expected @ [0.299, 0.587, 0.114]).mean() < 1


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
@pytest.mark.parametrize("name", ["h264_10bits.mp4", "h265_10bits.mp4"])
def test_ten_bits_become_eight(name: str) -> None:
    with av.open(str(SHARED / name)) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:200].astype(float) / 4
    grey = next(iterate_frames(SHARED / name, "grey"))
    assert np.abs(grey - np.clip((luma - 16) * 255 / 219, 0, 255)).mean() < 1


@pytest.mark.parametrize(("short_side", "size"), [(32, (32, 48)), (64, (32, 48)), (16, (16, 24)), (12, (12, 18))])
@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_larger_frames_are_brought_to_a_short_side(
    tmp_path: Path, short_side: int, size: tuple[int, int], colour: Literal["rgb", "grey"]
) -> None:
    """By means over areas, the same through every door."""
    images = np.repeat(np.repeat(np.arange(0, 240, 10, np.uint8).reshape(1, 4, 6), 8, 1), 8, 2)
    write_avi(tmp_path / "x.avi", np.repeat(images, 3, 0)[..., None].repeat(3, -1))
    frames = decode_clip(tmp_path / "x.avi", colour, short_side=short_side)
    assert frames.shape[:3] == (3, *size)
    np.testing.assert_array_equal(list(iterate_frames(tmp_path / "x.avi", colour, short_side=short_side)), frames)
    for paired in (True, False):
        reader = FrameReader()
        for _ in range(2):
            found = reader.read(tmp_path / "x.avi", [2, 0], colour, paired=paired, short_side=short_side)
            np.testing.assert_array_equal(found, frames[[2, 0]])
    whole = decode_clip(tmp_path / "x.avi", colour)
    assert abs(float(frames.mean()) - float(whole.mean())) < 2
