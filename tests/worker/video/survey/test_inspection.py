"""What a clip holds, found by decoding it from end to end."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.video.made_clips import assert_as_plain, decode_frames, encode, pictures, plain
from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.survey.inspection import probe_clip


def write_frames(path: Path, times: list[int], codec: str = "libx264", **settings: object) -> None:
    """Write grey frames at times in twenty-fifths of a second, each of brightness 8 times its place."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for place, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 8 * place, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_variable_frame_rate_neither_repeats_nor_drops_a_frame(tmp_path: Path) -> None:
    write_frames(tmp_path / "x.mp4", [0, 1, 2, 10, 11, 30, 31, 90])
    info = probe_clip(tmp_path / "x.mp4")
    assert (info.frames, info.timing) == (8, "variable")
    brightness = decode_clip(tmp_path / "x.mp4").mean(axis=(1, 2, 3))
    assert np.abs(brightness - 8 * np.arange(8)).max() < 4


def test_interlaced_frames_come_woven_and_the_manifest_says_so(tmp_path: Path) -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[1::2] = 200
    with av.open(str(tmp_path / "x.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1"})
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    info = probe_clip(tmp_path / "x.avi")
    assert (info.frames, info.interlaced) == (3, True)
    rows = decode_clip(tmp_path / "x.avi", "grey").mean(axis=(0, 2))
    assert rows[0::2].max() < 30
    assert rows[1::2].min() > 170


@pytest.mark.parametrize("matrix", [8, 10, 14])  # YCgCo, BT.2020 of constant luminance, ICtCp
def test_colours_that_cannot_be_converted_are_found_by_the_probe(tmp_path: Path, matrix: int) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.colorspace = matrix
        container.mux(stream.encode(av.VideoFrame(48, 32, "yuv420p")))
        container.mux(stream.encode(None))
    for read in (probe_clip, decode_clip, lambda path: decode_frames(path, [0])):
        with pytest.raises(DecodeFailed, match=rf"frame 0: its colours \(yuv420p, matrix {matrix}\) cannot be"):
            read(tmp_path / "x.mp4")


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "ffv1"])
def test_times_that_repeat_change_no_frame(tmp_path: Path, codec: str) -> None:
    source, path = tmp_path / "source.mkv", tmp_path / "x.mkv"
    encode(source, codec, {}, "yuvj420p" if codec == "mjpeg" else "yuv420p", pictures(12, "noise"), range(13))
    with av.open(str(source)) as clip, av.open(str(path), "w") as container:
        copy = container.add_stream_from_template(clip.streams.video[0])
        for number, packet in enumerate(packet for packet in clip.demux(video=0) if packet.size):
            packet.pts = packet.dts = number // 3 * 40
            packet.stream = copy
            container.mux(packet)
    assert assert_as_plain(path).timing == "unordered"
    np.testing.assert_array_equal(plain(path), plain(source))
