"""What a file holds beside the frames that are read is said, and frames come as FFmpeg's programs orient them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.sidedata.sidedata import SideDataContainer

from tests.worker.video.made_clips import decode_frames
from worker.video.decoding.decode import DecodeFailed, FrameReader, decode_clip
from worker.video.survey.inspection import ClipInfo, probe_clip

SIDE = np.zeros((48, 64, 3), np.uint8)
SIDE[:24, :32, 0] = 200  # red in the upper left corner
SIDE[:24, 32:, 1] = 150  # green in the upper right one
FRAMES = 4


def write(
    path: Path,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    before: Callable[[Any], None] = lambda container: None,
    change: Callable[[Any], None] = lambda stream: None,
    after: Callable[[Any], None] = lambda container: None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of four frames, whose stream, and what is around it, may be changed."""
    with av.open(str(path), "w", options=options or {}) as container:
        before(container)
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        change(stream)
        after(container)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(SIDE + np.uint8(number), format="rgb24").reformat(format=pixel_format)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def displayed(path: Path) -> np.ndarray:
    """Return the first frame with each pixel where the display matrix says: (x, y) goes to (a x + c y, b x + d y)."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        stored = frame.to_ndarray(format="rgb24")
        side_data: Any = SideDataContainer
        a, b, _, c, d = np.sign(np.frombuffer(bytes(side_data(frame)["DISPLAYMATRIX"]), np.int32)[:5])
    y, x = np.mgrid[0 : stored.shape[0], 0 : stored.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    image = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    image[down, across] = stored
    return image


@pytest.mark.parametrize("flip", ["hflip", "vflip"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_mirrored_display_matrix_is_applied(tmp_path: Path, degrees: int, flip: str) -> None:
    path = write(tmp_path / "x.mp4", change=lambda stream: stream.set_display_rotation(degrees, **{flip: True}))
    info = probe_clip(path)
    assert info.mirrored
    images = decode_clip(path)
    np.testing.assert_array_equal(images[0], displayed(path))
    assert images.shape[1:3] == (info.height, info.width)
    np.testing.assert_array_equal(decode_frames(path, [2, 0]), images[[2, 0]])
    np.testing.assert_array_equal(FrameReader().read(path, [3], paired=info.paired), images[[3]])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turn_is_no_mirror_image(tmp_path: Path, degrees: int) -> None:
    path = write(tmp_path / "x.mp4", change=lambda stream: stream.set_display_rotation(degrees))
    assert not probe_clip(path).mirrored
    if degrees:
        np.testing.assert_array_equal(decode_clip(path)[0], displayed(path))


def test_a_matrix_that_skews_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", change=lambda stream: stream.set_display_rotation(45))
    with pytest.raises(DecodeFailed, match="display matrix skews"):
        probe_clip(path)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi")])
def test_pixels_that_are_not_square_are_named_and_left(tmp_path: Path, codec: str, suffix: str) -> None:
    def stretch(stream: Any) -> None:
        stream.sample_aspect_ratio = Fraction(8, 9)

    info = probe_clip(write(tmp_path / f"x.{suffix}", codec, change=stretch))
    assert (info.pixel_aspect, info.width, info.height) == ("8:9", 64, 48)
    assert info.differences == ("pixels of 8:9, read as square ones",)
    plain = probe_clip(write(tmp_path / f"y.{suffix}", codec))
    assert (plain.pixel_aspect, plain.differences, plain.pixel_format) == ("1:1", (), "yuv420p")


def sound(container: Any) -> None:
    stream = container.add_stream("aac", rate=8000)
    stream.layout = "mono"
    samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    samples.sample_rate = 8000
    samples.pts = 0
    container.mux(stream.encode(samples))
    container.mux(stream.encode(None))


def larger(container: Any) -> None:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
    for number in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(np.zeros((96, 128, 3), np.uint8), format="rgb24")
        frame.pts = number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def test_audio_is_named(tmp_path: Path) -> None:
    info = probe_clip(write(tmp_path / "x.mkv", after=sound))
    assert info.audio == ("aac 8000 Hz mono",)
    assert probe_clip(write(tmp_path / "y.mkv")).audio == ()


def test_other_video_streams_are_named_and_the_one_that_ffmpeg_would_take(tmp_path: Path) -> None:
    info = probe_clip(write(tmp_path / "x.avi", "mpeg4", after=larger))
    assert (info.width, info.others) == (64, ("video mpeg4 128x96",))
    assert info.notes == ("FFmpeg's programs take stream 1 (video mpeg4 128x96), here it is 0",)
    assert info.differences == info.notes


def test_an_alpha_channel_is_named(tmp_path: Path) -> None:
    info = probe_clip(write(tmp_path / "x.mkv", "ffv1", "yuva420p"))
    assert (info.pixel_format, info.notes) == ("yuva420p", ("an alpha channel, which is left out",))


def test_high_dynamic_range_is_named(tmp_path: Path) -> None:
    def hlg(stream: Any) -> None:
        stream.codec_context.color_trc = 18

    info = probe_clip(write(tmp_path / "x.mp4", "libx264", change=hlg))
    assert info.notes == ("high dynamic range (HLG), read without tone mapping",)


def test_an_edit_list_that_leaves_frames_out_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", "mpeg4")
    assert probe_clip(path).notes == ()
    content = bytearray(path.read_bytes())
    place = content.index(b"elst")
    content[place + 16 : place + 20] = (2 * 512).to_bytes(4)  # begins with the third frame, in the track's time units
    path.write_bytes(content)
    info = probe_clip(path)
    assert info.frames < FRAMES
    assert info.notes == (f"an edit list (1 part), which is followed: of {FRAMES} frames {info.frames} are read",)


MASTERS = {b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"}  # segment, tracks, a track, its video


def with_cropping(content: bytes) -> bytes:
    """Return the elements of a Matroska file, the video's with one more: 8 pixels to be cut off the bottom."""
    place, out = 0, b""
    while place < len(content):
        id_length = 9 - content[place].bit_length()
        name, place = content[place : place + id_length], place + id_length
        length = 9 - content[place].bit_length()
        size = int.from_bytes(content[place : place + length]) & ((1 << 7 * length) - 1)
        place += length
        inner, place = content[place : place + size], place + size
        if name in MASTERS:
            inner = with_cropping(inner) + (b"\x54\xaa\x81\x08" if name == b"\xe0" else b"")
        out += name + (len(inner) | 1 << 56).to_bytes(8) + inner
    return out


def test_cropping_of_a_matroska_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mkv", "ffv1")
    assert probe_clip(path).notes == ()
    path.write_bytes(with_cropping(path.read_bytes()))
    info = probe_clip(path)
    assert (info.width, info.height) == (64, 48)
    assert info.notes == ("cropping (bottom 8 pixels), which is not applied",)


def test_facts_have_defaults_for_manifests_of_earlier_versions() -> None:
    info = ClipInfo(frames=1, fps=25, width=2, height=2)
    assert (info.pixel_aspect, info.audio, info.others, info.notes, info.mirrored) == ("1:1", (), (), (), False)
