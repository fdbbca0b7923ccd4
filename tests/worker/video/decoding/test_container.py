"""What of a file is a clip: its pictures, in a codec that has a decoder, and no cover."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.worker.video.made_clips import (
    NUMBERED,
    numbers_of,
    write_numbered,
)
from worker.video.decoding.decode import DecodeFailed
from worker.video.survey.inspection import probe_clip


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_that_an_edit_list_leaves_out_are_none(tmp_path: Path, codec: str) -> None:
    write_numbered(tmp_path / "x.mp4", codec)
    content = bytearray((tmp_path / "x.mp4").read_bytes())
    place = content.index(b"elst") + 12
    (duration,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, duration // 2)  # as a recording is trimmed without being written anew
    (tmp_path / "x.mp4").write_bytes(content)
    assert probe_clip(tmp_path / "x.mp4").declared == NUMBERED
    assert numbers_of(tmp_path / "x.mp4") == list(range(NUMBERED // 2))


def write_with_cover(path: Path, clip: Path | None) -> None:
    """Write a cover, and behind it the pictures of a clip, or a second of silence where there is none."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("png", rate=25)
        cover.height, cover.width, cover.pix_fmt = 16, 16, "rgb24"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        if clip is None:
            sound = container.add_stream("aac", rate=8000)
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            samples.sample_rate = 8000
            container.mux(cover.encode(picture))
            container.mux(sound.encode(samples))
            container.mux(sound.encode(None))
            return
        with av.open(str(clip)) as source:
            copy = container.add_stream_from_template(source.streams.video[0])
            container.mux(cover.encode(picture))
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    container.mux(packet)


def test_a_cover_is_no_clip(tmp_path: Path) -> None:
    write_with_cover(tmp_path / "sound.mp4", None)
    with pytest.raises(DecodeFailed, match="frame 0: no video stream"):
        probe_clip(tmp_path / "sound.mp4")
    write_numbered(tmp_path / "x.mp4", "libx264")
    write_with_cover(tmp_path / "both.mp4", tmp_path / "x.mp4")
    assert numbers_of(tmp_path / "both.mp4") == list(range(NUMBERED))


def test_a_codec_without_a_decoder_is_named(tmp_path: Path) -> None:
    write_numbered(tmp_path / "x.avi", "mpeg4")
    content = (tmp_path / "x.avi").read_bytes().replace(b"FMP4", b"ZZZZ")
    (tmp_path / "x.avi").write_bytes(content)
    with pytest.raises(DecodeFailed, match="frame 0: the video stream is of a codec that has no decoder here"):
        probe_clip(tmp_path / "x.avi")
