"""Every edge case of a decoder, with its outcome: right, or refused by clip, frame and reason."""

import contextlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from tests.worker.video.made_clips import decode_frames
from worker.video.decoding.decode import DecodeFailed, decode_clip, iterate_frames
from worker.video.survey.inspection import probe_clip

SHARED = Path(__file__).parents[5] / "shared/data/clips/edge-cases"


class Right(NamedTuple):
    frames: int
    width: int
    height: int
    codec: str
    turns: int = 0


class Refused(NamedTuple):
    frame: int
    reason: str


OUTCOMES = {
    "av1_video.mkv": Right(125, 640, 360, "libdav1d"),
    "bt709_full_range.mp4": Right(30, 1280, 720, "h264"),
    "corrupted.mp4": Refused(28, "Invalid data"),
    "flipping_a_pancake.mkv": Right(310, 426, 240, "h264"),
    "h264_10bits.mp4": Right(30, 200, 200, "h264"),
    "h265_10bits.mp4": Right(30, 200, 200, "hevc"),
    "h265_video.mp4": Right(10, 128, 128, "hevc"),
    "nasa_13013.mp4": Right(325, 320, 180, "h264"),
    "unordered.mov": Right(4, 50, 50, "h264"),
    "video_0.mov": Right(3, 568, 320, "h264"),
    "video_90.mov": Right(3, 320, 568, "h264", turns=3),
    "video_180.mov": Right(3, 568, 320, "h264", turns=2),
    "video_270.mov": Right(3, 320, 568, "h264", turns=1),
    "LICENSE": Refused(0, "Invalid data"),
}


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_files(name: str) -> None:
    path, outcome = SHARED / name, OUTCOMES[name]
    if isinstance(outcome, Refused):
        with pytest.raises(DecodeFailed, match=outcome.reason) as caught:
            probe_clip(path)
        assert (caught.value.clip, caught.value.frame) == (path, outcome.frame)
        return
    info = probe_clip(path)
    assert Right(info.frames, info.width, info.height, info.codec, info.turns) == outcome
    assert (info.timing, info.interlaced) == ("constant", False)
    first = next(iterate_frames(path))
    assert first.shape == (outcome.height, outcome.width, 3)
    assert first.std() > 1 or name == "unordered.mov"  # which is a white field


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
def test_no_file_is_left_out() -> None:
    assert {path.name for path in SHARED.iterdir()} == set(OUTCOMES)


WITHOUT_PICTURES = {
    "empty.avi": Refused(0, "Invalid data"),
    "empty.mp4": Refused(0, "Invalid data"),
    "audio_only.avi": Refused(0, "no video stream"),
    "audio_only.mp4": Refused(0, "no video stream"),
    "header_only.avi": Refused(0, "no frames"),
}


def write_without_pictures(path: Path) -> None:
    """Write nothing, a second of sound, or the header of a video."""
    if path.stem == "empty":
        path.touch()
        return
    with av.open(str(path), "w") as container:
        if path.stem == "header_only":
            stream = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            container.start_encoding()
            return
        sound = container.add_stream("aac" if path.suffix == ".mp4" else "pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(
            np.zeros((1, 8000), np.float32 if path.suffix == ".mp4" else np.int16),
            format="fltp" if path.suffix == ".mp4" else "s16",
            layout="mono",
        )
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


@pytest.mark.parametrize("name", sorted(WITHOUT_PICTURES))
def test_files_without_pictures(tmp_path: Path, name: str) -> None:
    path, outcome = tmp_path / name, WITHOUT_PICTURES[name]
    write_without_pictures(path)
    doors: list[Callable[[Path], object]] = [
        probe_clip,
        decode_clip,
        lambda path: decode_frames(path, [0]),
        lambda path: decode_frames(path, [0], paired=True),
    ]
    for door in doors:
        with pytest.raises(DecodeFailed) as caught:
            door(path)
        assert (caught.value.clip, caught.value.frame) == (path, outcome.frame)
    with pytest.raises(DecodeFailed, match=outcome.reason):
        probe_clip(path)


@pytest.mark.data
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no edge cases at {SHARED}")
def test_pictures_are_upright() -> None:
    path = SHARED / "video_90.mov"
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(next(iterate_frames(path)), np.rot90(stored, -1))  # the matrix says: clockwise


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
