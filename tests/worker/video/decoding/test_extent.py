"""Files that are whole and look cut short, and files that are cut short and look whole."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.video.made_clips import (
    NUMBERED,
    encode,
    numbers_of,
    pictures,
    plain,
    write_numbered,
)
from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.survey.inspection import probe_clip


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mkv"), ("libvpx-vp9", "webm"), ("mpeg4", "mkv")])
def test_matroska_that_is_cut_short_is_refused_wherever_it_ends(tmp_path: Path, codec: str, suffix: str) -> None:
    write_numbered(tmp_path / f"x.{suffix}", codec)
    content = (tmp_path / f"x.{suffix}").read_bytes()
    assert probe_clip(tmp_path / f"x.{suffix}").frames == NUMBERED
    cut = tmp_path / f"cut.{suffix}"
    for tenths in range(1, 10):
        cut.write_bytes(content[: len(content) * tenths // 10])
        with pytest.raises(DecodeFailed):
            probe_clip(cut)
    cut.write_bytes(content[:-1])
    with pytest.raises(DecodeFailed, match=f"frame 20: the file ends after {len(content) - 1} of {len(content)} bytes"):
        probe_clip(cut)


@pytest.mark.parametrize(
    "junk", [b"junk", b"junk from a recorder", struct.pack(">I4sQ", 1, b"free", 2**64 - 1), bytes(99)]
)
def test_what_stands_behind_the_end_of_an_mp4_is_no_damage(tmp_path: Path, junk: bytes) -> None:
    write_numbered(tmp_path / "x.mp4", "libx264")
    content = (tmp_path / "x.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(content + junk)
    assert probe_clip(tmp_path / "x.mp4").frames == NUMBERED
    assert numbers_of(tmp_path / "x.mp4") == [*range(NUMBERED)]


def test_a_matroska_of_an_impossible_size_is_refused(tmp_path: Path) -> None:
    write_numbered(tmp_path / "x.mkv", "libx264")
    content = (tmp_path / "x.mkv").read_bytes()
    (tmp_path / "x.mkv").write_bytes(content + bytes.fromhex("ec01fffffffffffffe"))
    with pytest.raises(DecodeFailed, match="frame 20: the file ends after"):
        probe_clip(tmp_path / "x.mkv")


def test_matroska_that_does_not_say_how_long_it_is_is_believed(tmp_path: Path) -> None:
    write_numbered(tmp_path / "x.mkv", "libx264")
    content = bytearray((tmp_path / "x.mkv").read_bytes())
    size = content.index(bytes.fromhex("18538067")) + 4
    content[size : size + 8] = bytes.fromhex("01ffffffffffffff")  # as a recorder writes that cannot go back
    (tmp_path / "x.mkv").write_bytes(content)
    assert probe_clip(tmp_path / "x.mkv").frames == NUMBERED


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov"])
def test_mp4_that_is_cut_short_is_refused_although_its_header_is_there(tmp_path: Path, flags: str) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w", options={"movflags": flags}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number in range(NUMBERED):
            image = np.full((32, 48, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert numbers_of(tmp_path / "x.mp4") == list(range(NUMBERED))
    content = (tmp_path / "x.mp4").read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "x.mp4").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DecodeFailed):
            probe_clip(tmp_path / "x.mp4")


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264"])
def test_an_avi_with_empty_packets_holds_the_frames_between_them(tmp_path: Path, codec: str) -> None:
    times = [number + 5 * (number > 7) + 30 * (number > 12) for number in range(NUMBERED)]
    write_numbered(tmp_path / "x.avi", codec, times)
    info = probe_clip(tmp_path / "x.avi")
    assert (info.frames, info.declared, info.timing) == (NUMBERED, NUMBERED + 35, "variable")
    assert numbers_of(tmp_path / "x.avi") == list(range(NUMBERED))
    content = (tmp_path / "x.avi").read_bytes()
    for tenths in range(1, 8):
        (tmp_path / "x.avi").write_bytes(content[: content.index(b"idx1") * tenths // 8])
        with pytest.raises(DecodeFailed):
            probe_clip(tmp_path / "x.avi")


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "ffv1", "libx264"])
@pytest.mark.parametrize(("first", "step"), [(0, 3), (7, 1), (4, 5)])
def test_an_avi_whose_first_or_last_packets_are_empty_is_whole(
    tmp_path: Path, codec: str, first: int, step: int
) -> None:
    path, images = tmp_path / "x.avi", pictures(6, "noise")
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encode(path, codec, {}, pixels, images, range(first, first + 7 * step, step))
    info, frames, content = probe_clip(path), plain(path), path.read_bytes()
    assert (info.frames, info.declared > 6) == (6, True)
    np.testing.assert_array_equal(decode_clip(path), frames)
    start = content.index(b"movi")
    end = start + int.from_bytes(content[start - 4 : start], "little")
    for length in np.linspace(start, end - 2, 9).astype(int).tolist():
        path.write_bytes(content[:length])
        with pytest.raises(DecodeFailed):
            probe_clip(path)
    path.write_bytes(content[:end])  # the index alone is cut off
    np.testing.assert_array_equal(decode_clip(path), frames)


RIGHT, UNKNOWN, NEVER = "right", (0, 0xFFFFFFFF), 1 << 30


@pytest.mark.parametrize("count", [RIGHT, 0, NUMBERED - 5, NUMBERED + 5, NEVER])
@pytest.mark.parametrize("pictures_size", [RIGHT, *UNKNOWN])
@pytest.mark.parametrize("file_size", [RIGHT, *UNKNOWN])
def test_an_avi_is_whole_if_anything_in_it_says_so(
    tmp_path: Path, file_size: str | int, pictures_size: str | int, count: str | int
) -> None:
    path = tmp_path / "x.avi"
    write_numbered(path, "mjpeg")
    content = bytearray(path.read_bytes())
    first = content.index(b"movi")
    end = first + int.from_bytes(content[first - 4 : first], "little")
    for place, value in ((4, file_size), (first - 4, pictures_size), (content.index(b"strh") + 40, count)):
        if isinstance(value, int):
            content[place : place + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)
    says_length = RIGHT in (file_size, pictures_size)
    if says_length or count in (RIGHT, 0, NUMBERED - 5, NEVER):
        assert numbers_of(path) == list(range(NUMBERED))
    path.write_bytes(content[: (first + end) // 2])
    if says_length or count in (RIGHT, NUMBERED - 5, NUMBERED + 5):
        with pytest.raises(DecodeFailed):
            probe_clip(path)


class Pipe:
    """A file that cannot go back."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, content: bytes) -> int:
        return self._file.write(content)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("suffix", ["avi", "mkv", "ts", "flv"])
def test_a_clip_that_was_written_to_a_pipe_is_whole(tmp_path: Path, suffix: str) -> None:
    path, pipe = tmp_path / f"x.{suffix}", Pipe(tmp_path / f"x.{suffix}")
    names = {"mkv": "matroska", "ts": "mpegts"}
    with av.open(pipe, "w", format=names.get(suffix, suffix)) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number in range(NUMBERED):
            image = np.full((32, 48, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    pipe.close()
    assert numbers_of(path) == list(range(NUMBERED))
    assert probe_clip(path).declared == 0


def chunk(name: bytes, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def movi(place: int, packets: list[bytes]) -> tuple[bytes, int]:
    """Return a list of pictures for a place in a file, their index at its end, and the place of that index."""
    parts = [chunk(b"00dc", packet) for packet in packets]
    starts = [8 + sum(map(len, parts[:number])) for number in range(len(parts))]
    entries = [struct.pack("<II", start, len(packet)) for start, packet in zip(starts, packets, strict=True)]
    index = struct.pack("<HBBI4sQ4x", 2, 0, 1, len(parts), b"00dc", place + 12)
    return chunk(b"LIST", b"movi", *parts, chunk(b"ix00", index, *entries)), place + 12 + sum(map(len, parts))


def test_a_large_avi_that_ends_between_two_of_its_lists_is_refused(tmp_path: Path) -> None:
    path, half = tmp_path / "x.avi", NUMBERED // 2
    write_numbered(path, "mjpeg")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    header = bytearray(content[12 : content.index(b"movi") - 8])
    first, first_index = movi(12 + len(header), packets[:half])
    end = 12 + len(header) + len(first)
    second, second_index = movi(end + 12, packets[half:])
    room = header.index(b"JUNK")  # which FFmpeg leaves for an index of lists
    header[room : room + 4] = b"indx"
    entries = [struct.pack("<QII", place, 32 + 8 * half, half) for place in (first_index, second_index)]
    index = struct.pack("<HBBI4s12x", 4, 0, 0, len(entries), b"00dc") + b"".join(entries)
    header[room + 8 : room + 8 + len(index)] = index
    path.write_bytes(chunk(b"RIFF", b"AVI ", header, first) + chunk(b"RIFF", b"AVIX", second))
    assert numbers_of(path) == list(range(NUMBERED))
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(DecodeFailed, match="frame 10: the file ends after"):
        probe_clip(path)


def test_an_edit_list_in_a_file_without_a_size_is_believed(tmp_path: Path) -> None:
    path, images = tmp_path / "x.mp4", pictures(20, "noise")
    encode(path, "mpeg4", {"g": "5"}, "yuv420p", images, range(21), {"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 12
    struct.pack_into(">I", content, place, struct.unpack_from(">I", content, place)[0] // 2)
    content[content.index(b"mdat") - 4 : content.index(b"mdat")] = bytes(4)  # it reaches to the end of the file
    path.write_bytes(content)
    assert probe_clip(path).frames == 10
    np.testing.assert_array_equal(decode_clip(path), plain(path))
    path.write_bytes(content[: content.index(b"mdat") + 1000])
    with pytest.raises(DecodeFailed):
        probe_clip(path)
