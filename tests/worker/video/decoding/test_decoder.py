"""Frames come out whole and upright, or not at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest

from worker.video.decoding.decode import DecodeFailed, decode_clip, iterate_frames

SHARED = Path(__file__).parents[5] / "shared/data/clips/edge-cases"


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
def test_pictures_are_upright() -> None:
    path = SHARED / "video_90.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(next(iterate_frames(path)), np.rot90(stored, -1))  # the matrix says: clockwise


@pytest.mark.parametrize("damage", range(12))
def test_damage_is_refused_or_changes_nothing(tmp_path: Path, damage: int) -> None:
    """A frame that the decoder patched up after an error is never passed on as if it were whole."""
    images = np.random.default_rng(1).integers(0, 256, (20, 4, 6, 3)).astype(np.uint8).repeat(16, 1).repeat(16, 2)
    with av.open(str(tmp_path / "x.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"g": "5", "qscale": "2"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    whole = decode_clip(tmp_path / "x.avi")
    content = bytearray((tmp_path / "x.avi").read_bytes())
    start = content.index(b"movi") + 2000 + 1500 * damage
    content[start : start + 40] = bytes(40)
    (tmp_path / "y.avi").write_bytes(content)
    with contextlib.suppress(DecodeFailed):
        np.testing.assert_array_equal(decode_clip(tmp_path / "y.avi"), whole)
