"""Whatever a clip is made of, each frame is read, and is the one that plain PyAV decodes."""

import os
import re
import struct
import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import av
import numpy as np
from hypothesis import assume, event, given, reject
from hypothesis import strategies as st

from tests.worker.video.made_clips import Motion, assert_as_plain_or_refused, encode, many, pictures, plain
from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.survey.inspection import probe_clip


class Codec(NamedTuple):
    """What is tried of an encoder: files, pixels, options (one of each), most B pictures."""

    suffixes: str
    pixels: str = "yuv420p"
    options: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    b_pictures: int = 0
    sizes: tuple[tuple[int, int], ...] = ((32, 48), (34, 46), (16, 16))


os.environ.setdefault("SVT_LOG", "0")  # the encoder of AV1 would tell its settings
INTERLACED = ("+bitexact", "+ilme+ildct", "+mv4")
X264 = tuple(
    f"scenecut=0:{more}"
    for more in (
        "open-gop=1:b-pyramid=normal",
        "interlaced=1:tff=1",
        "slices=3",
        "bframes=3:ref=5:b-adapt=0",
    )
)
X265 = tuple(
    f"log-level=none:pools=none:frame-threads=1:{more}" for more in ("open-gop=1", "open-gop=0:bframes=3", "bframes=0")
)
VPX = {"deadline": ("realtime", "good"), "cpu-used": ("8",), "auto-alt-ref": ("0", "1"), "lag-in-frames": ("0", "12")}

CODECS = {
    "mpeg4": Codec(
        "avi avi mp4 mov mkv ts mpg m4v",
        options={"flags": (*INTERLACED, "+qpel"), "b_strategy": ("0", "1")},
        b_pictures=3,
    ),
    "libx264": Codec(
        "avi mp4 mov mkv ts mpg flv h264",
        "yuv420p yuv422p yuv444p yuv420p10le gray yuvj420p",
        {"preset": ("ultrafast", "veryfast"), "x264-params": X264},
        b_pictures=3,
    ),
    "libx265": Codec(
        "mp4 mov mkv ts hevc", "yuv420p yuv420p10le", {"preset": ("ultrafast",), "x265-params": X265}, sizes=((64, 64),)
    ),
    "mpeg1video": Codec("avi mp4 mov mkv ts mpg m1v", b_pictures=3),
    "mpeg2video": Codec("avi mp4 mov mkv ts mpg m2v", "yuv420p yuv422p", {"flags": ("+bitexact", "+ilme+ildct")}, 3),
    "mjpeg": Codec("avi mp4 mov mkv mjpeg", "yuvj420p yuvj422p yuvj444p", {"huffman": ("default", "optimal")}),
    "ffv1": Codec("avi mp4 mkv", "yuv420p yuv444p bgr0 gray yuv420p10le", {"level": ("1", "3"), "context": ("0", "1")}),
    "libvpx": Codec("avi mkv webm", options=VPX),
    "libvpx-vp9": Codec("mp4 mkv webm", "yuv420p yuv444p", VPX),
    "libsvtav1": Codec(
        "mp4 mkv webm", options={"preset": ("12",), "svtav1-params": ("lp=1:lookahead=0",)}, sizes=((64, 64),)
    ),
    "h263p": Codec("avi", options={"umv": ("0", "1")}, sizes=((32, 48), (16, 16))),
    "msmpeg4": Codec("avi mov mkv"),
    "wmv2": Codec("avi asf"),
    "huffyuv": Codec("avi", "yuv422p rgb24"),
    "rawvideo": Codec("avi mkv", "yuv420p bgr24"),
    "png": Codec("avi mp4 mov", "rgb24 gray"),
    "prores_ks": Codec("mov mkv", "yuv422p10le"),
}


OFTEN = (*["mpeg4"] * 5, "mjpeg", "libx264")  # whose packets are read by us, or are in many data sets
ALL = {suffix for codec in CODECS.values() for suffix in codec.suffixes.split()}
MOV_FLAGS = ("", "faststart")
MOST_KEPT = 2000
"""Clips that are made: of some kilobytes."""
FRAGMENTS = "frag_keyframe+empty_moov"


def write(
    draw: st.DrawFn, folder: Path, suffixes: Collection[str] = ALL, flags: Sequence[str] = (*MOV_FLAGS, FRAGMENTS)
) -> Path:
    """Write a clip: an encoder, its options, sizes of motion and of groups, a file format, and times, all drawn."""
    fitting = {
        name: [suffix for suffix in codec.suffixes.split() if suffix in suffixes] for name, codec in CODECS.items()
    }
    name = draw(st.sampled_from([name for name in (*CODECS, *OFTEN) if fitting[name]]))
    codec = CODECS[name]
    path = folder / f"x.{draw(st.sampled_from(fitting[name]))}"
    motion = draw(st.sampled_from(["still", "lamp", "bars", "noise"]))
    shown = draw(st.integers(1, 20)), motion, draw(st.sampled_from(codec.sizes))
    options = {option: draw(st.sampled_from(values)) for option, values in codec.options.items()}
    options["g"] = str(draw(st.integers(1, 15)))
    if codec.b_pictures:
        options["bf"] = str(draw(st.integers(0, codec.b_pictures)))
    pixels = draw(st.sampled_from(codec.pixels.split()))
    steps = draw(st.sampled_from([(1,), (1,), (1,), (1, 1, 4), (3,)]))
    gaps = [draw(st.sampled_from(steps)) for _ in range(shown[0])]
    times = list(accumulate(gaps, initial=draw(st.sampled_from([0, 0, 0, 5]))))
    flag = draw(st.sampled_from(flags)) if path.suffix in (".mp4", ".mov") else ""
    made = _encoded(path.suffix, name, tuple(options.items()), pixels, shown, tuple(times), flag)
    if isinstance(made, str):  # this encoder has not these options, or this file format not such times
        event(f"{name} in {path.suffix} cannot be written: {made}")
        reject()
    event(f"{name} in {path.suffix}")
    path.write_bytes(made)
    return path


@lru_cache(MOST_KEPT)
def _encoded(
    suffix: str,
    codec: str,
    options: tuple[tuple[str, str], ...],
    pixels: str,
    shown: tuple[int, Motion, tuple[int, int]],
    times: tuple[int, ...],
    flag: str,
) -> bytes | str:
    """Return a file, or why there is none: the same whenever the same is drawn, which no encoder with threads promises.

    What is drawn after it hangs on it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{suffix}")
        try:
            encode(path, codec, dict(options), pixels, pictures(*shown), times, {"movflags": flag} if flag else {})
        except av.FFmpegError as error:
            return str(error.strerror)
        return path.read_bytes()


@many(80)
@given(st.data())
def test_each_frame_is_that_of_plain_pyav(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert_as_plain_or_refused(write(data.draw, Path(folder)))


@many(60)
@given(st.data())
def test_a_clip_that_is_cut_short_is_refused_or_has_each_frame_still(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(data.draw, Path(folder), ("avi", "mp4", "mov", "mkv", "webm"), MOV_FLAGS)
        frames, content = plain(path), path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(1, len(content) - 1))])
        try:
            info = probe_clip(path)
        except DecodeFailed as error:
            event(f"refused in {path.suffix}: {re.sub('[0-9]+', 'N', error.reason)}")
        else:
            event(f"whole in {path.suffix}")
            assert info.frames == len(frames)
            np.testing.assert_array_equal(decode_clip(path), frames)


@many(40)
@given(st.data())
def test_frames_are_those_that_an_edit_list_shows(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(data.draw, Path(folder), ("mp4", "mov"), MOV_FLAGS)
        content = bytearray(path.read_bytes())
        place = content.rfind(b"elst")
        assume(place >= 0)
        entry = place + 12 + 12 * (struct.unpack_from(">I", content, place + 8)[0] - 1)
        duration, begin = struct.unpack_from(">Ii", content, entry)
        assume(begin >= 0)
        share, later = data.draw(st.floats(0.1, 1.5)), data.draw(st.integers(0, 2 * duration))
        struct.pack_into(">Ii", content, entry, int(duration * share), begin + later)
        path.write_bytes(content)
        assert_as_plain_or_refused(path)
