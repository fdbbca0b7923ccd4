"""Every edge case of a decoder, with its outcome: right, or refused by clip, frame and reason."""

from collections.abc import Callable
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
