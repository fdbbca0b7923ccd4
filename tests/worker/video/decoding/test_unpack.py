"""MPEG-4 whose packets hold two pictures, or none: what a packet holds is read in it, and not told by its size."""

import struct
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.video.made_clips import (
    B_PICTURE,
    NOTHING,
    PACKED,
    VOP_START,
    XVID,
    Motion,
    assert_as_plain,
    assert_as_plain_or_refused,
    kind_of,
    many,
    mpeg4,
    packed,
    pictures,
    placeholder,
    plain,
    write_packets,
)
from worker.video.decoding.decode import FrameReader, decode_clip
from worker.video.survey.inspection import probe_clip

EMPTY = {"nothing": NOTHING, "not-coded": placeholder(3), "not-coded-and-long": placeholder(3) + bytes(40)}
SMALL = 19  # bytes: up to here FFmpeg's filter for packed clips takes a packet for a placeholder


@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("motion", ["still", "lamp", "bars", "noise"])
@pytest.mark.parametrize("b_pictures", [1, 2, 3])
def test_a_packed_clip_loses_no_frame(tmp_path: Path, b_pictures: int, motion: Motion, empty: str) -> None:
    packets = mpeg4(pictures(40, motion), b_pictures=b_pictures)
    smallest = min(len(packet) for packet in packets if kind_of(packet) == B_PICTURE)
    assert motion != "still" or smallest <= SMALL
    write_packets(tmp_path / "x.avi", packed(packets, EMPTY[empty]))
    info = assert_as_plain(tmp_path / "x.avi")
    assert (info.frames, info.paired) == (40, True)


@pytest.mark.parametrize("places", [[1], [1, 2], [1, 5, 5, 21], [40], list(range(1, 41))])
@pytest.mark.parametrize("b_pictures", [0, 2])
@pytest.mark.parametrize("kind", ["nothing", "p", "b", "s"])
def test_packets_without_a_picture_are_no_frames(tmp_path: Path, kind: str, b_pictures: int, places: list[int]) -> None:
    empty = NOTHING if kind == "nothing" else placeholder(3, {"p": 0b01, "b": 0b10, "s": 0b11}[kind])
    packets = mpeg4(pictures(40, "bars"), b_pictures=b_pictures, marks=XVID)
    for place in sorted(places, reverse=True):
        packets.insert(place, empty)
    write_packets(tmp_path / "x.avi", packets)
    info = assert_as_plain(tmp_path / "x.avi")
    assert info.frames == 40 or kind != "nothing"
    assert info.declared == 40 + len(places)
    assert info.paired or b_pictures or (40 in places and kind != "nothing")  # FFmpeg shows the last frame again


def test_a_packed_clip_whose_encoder_was_late_by_a_picture_is_read_at_random(tmp_path: Path) -> None:
    packets = packed(mpeg4(pictures(40, "bars"), b_pictures=2), NOTHING)
    write_packets(tmp_path / "x.avi", [packets[0], NOTHING, *packets[1:]])
    info = assert_as_plain(tmp_path / "x.avi")
    assert (info.frames, info.declared, info.paired) == (40, 41, True)


@pytest.mark.parametrize("tag", ["xvid", "DIVX", "FMP4"])
@pytest.mark.parametrize("marks", [b"", XVID, b"\x00\x00\x01\xb2another encoder"])
def test_one_byte_placeholders_are_left_out_whatever_the_encoder_is(tmp_path: Path, marks: bytes, tag: str) -> None:
    packets = mpeg4(pictures(40, "bars"), marks=marks)
    write_packets(tmp_path / "x.avi", packets, tag)
    frames = plain(tmp_path / "x.avi")
    for number in (21, 5, 5, 1):
        packets.insert(number, NOTHING)
    write_packets(tmp_path / "y.avi", packets, tag)
    info = probe_clip(tmp_path / "y.avi")
    assert (info.frames, info.declared, info.paired) == (40, 44, True)
    for threads in (1, 2):
        np.testing.assert_array_equal(decode_clip(tmp_path / "y.avi", threads=threads), frames)
        reader = FrameReader(threads=threads)
        for _ in range(2):
            np.testing.assert_array_equal(reader.read(tmp_path / "y.avi", [39, 0, 5], paired=True), frames[[39, 0, 5]])


def test_a_placeholder_at_the_beginning_is_no_frame(tmp_path: Path) -> None:
    first, *packets = mpeg4(pictures(20, "bars"), marks=XVID)
    start = first.index(VOP_START)
    write_packets(tmp_path / "x.avi", [first[:start] + placeholder(0), first[start:], *packets])
    info = assert_as_plain(tmp_path / "x.avi")
    assert (info.frames, info.declared, info.paired) == (20, 21, True)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_packed_clips_of_other_formats_lose_no_frame(tmp_path: Path, suffix: str) -> None:
    packets = packed(mpeg4(pictures(40, "still"), b_pictures=2), placeholder(3))
    write_packets(tmp_path / f"x.{suffix}", packets)
    assert assert_as_plain(tmp_path / f"x.{suffix}").frames == 40


def test_what_the_decoder_loses_is_lost_in_every_way_of_reading(tmp_path: Path) -> None:
    packets = packed(mpeg4(pictures(40, "bars"), b_pictures=2, marks=XVID), placeholder(3))
    write_packets(tmp_path / "x.avi", packets)  # not marked as packed
    assert assert_as_plain(tmp_path / "x.avi").frames < 40


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "ffv1"])
def test_a_packet_without_a_byte_does_not_end_the_clip(tmp_path: Path, codec: str) -> None:
    pixels = {"mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        for image in pictures(12, "bars"):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    whole = plain(tmp_path / "x.mp4")
    content = bytearray((tmp_path / "x.mp4").read_bytes())
    place = content.index(b"stsz") + 16
    sizes = struct.unpack_from(">12I", content, place)
    struct.pack_into(">12I", content, place, *sizes[:7], 0, sizes[7], *sizes[8:11])  # the last is not listed any more
    (tmp_path / "x.mp4").write_bytes(content)
    np.testing.assert_array_equal(decode_clip(tmp_path / "x.mp4"), whole[:11])
    assert probe_clip(tmp_path / "x.mp4").frames == 11


def parts(draw: st.DrawFn, packets: list[bytes]) -> list[bytes]:
    """Spread pictures over packets at random, with placeholders and whatever else an encoder may write between them."""
    found: list[bytes] = []
    for packet in packets:
        joined = draw(st.sampled_from([False, False, True])) and found and found[-1] != NOTHING
        found[-1:] = [found[-1] + packet] if joined else [*found[-1:], packet]
        found += draw(st.lists(st.sampled_from([NOTHING, placeholder(3), placeholder(7, B_PICTURE)]), max_size=2))
    return found


@many(60)
@given(st.data())
def test_however_pictures_are_spread_over_packets_the_frames_are_those_of_plain_pyav(data: st.DataObject) -> None:
    motion = data.draw(st.sampled_from(["still", "lamp", "bars", "noise"]))
    count, b_pictures = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 3))
    marks = data.draw(st.sampled_from([PACKED + XVID, XVID, PACKED]))
    packets = mpeg4(pictures(count, motion), b_pictures=b_pictures, group=data.draw(st.integers(1, 12)), marks=marks)
    if data.draw(st.booleans()):
        packets = packed(packets, data.draw(st.sampled_from([NOTHING, placeholder(5)])))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / data.draw(st.sampled_from(["x.avi", "x.avi", "x.mkv", "x.mp4"]))
        write_packets(path, parts(data.draw, packets))
        assert_as_plain_or_refused(path)
