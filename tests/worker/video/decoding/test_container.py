"""Files that are whole and look cut short, and files that are cut short and look whole."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.worker.video.made_clips import assert_as_plain, decode_frames, encode, pictures, plain
from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.survey.inspection import probe_clip

FRAMES = 20


def write(path: Path, codec: str, times: list[int] | None = None, **options: str) -> None:
    """Write frames of brightness 12 times their number, at times in twenty-fifths of a second."""
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, pixels
        for number, time in enumerate(times or range(FRAMES)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 12 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbers(path: Path) -> list[int]:
    """Return the number of each frame by its brightness."""
    return [round(value / 12) for value in decode_clip(path).mean(axis=(1, 2, 3)).tolist()]


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mkv"), ("libvpx-vp9", "webm"), ("mpeg4", "mkv")])
def test_matroska_that_is_cut_short_is_refused_wherever_it_ends(tmp_path: Path, codec: str, suffix: str) -> None:
    write(tmp_path / f"x.{suffix}", codec)
    content = (tmp_path / f"x.{suffix}").read_bytes()
    assert probe_clip(tmp_path / f"x.{suffix}").frames == FRAMES
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
    write(tmp_path / "x.mp4", "libx264")
    content = (tmp_path / "x.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(content + junk)
    assert probe_clip(tmp_path / "x.mp4").frames == FRAMES
    assert numbers(tmp_path / "x.mp4") == [*range(FRAMES)]


def test_a_matroska_of_an_impossible_size_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.mkv", "libx264")
    content = (tmp_path / "x.mkv").read_bytes()
    (tmp_path / "x.mkv").write_bytes(content + bytes.fromhex("ec01fffffffffffffe"))
    with pytest.raises(DecodeFailed, match="frame 20: the file ends after"):
        probe_clip(tmp_path / "x.mkv")


def test_matroska_that_does_not_say_how_long_it_is_is_believed(tmp_path: Path) -> None:
    write(tmp_path / "x.mkv", "libx264")
    content = bytearray((tmp_path / "x.mkv").read_bytes())
    size = content.index(bytes.fromhex("18538067")) + 4
    content[size : size + 8] = bytes.fromhex("01ffffffffffffff")  # as a recorder writes that cannot go back
    (tmp_path / "x.mkv").write_bytes(content)
    assert probe_clip(tmp_path / "x.mkv").frames == FRAMES


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_that_an_edit_list_leaves_out_are_none(tmp_path: Path, codec: str) -> None:
    write(tmp_path / "x.mp4", codec)
    content = bytearray((tmp_path / "x.mp4").read_bytes())
    place = content.index(b"elst") + 12
    (duration,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, duration // 2)  # as a recording is trimmed without being written anew
    (tmp_path / "x.mp4").write_bytes(content)
    assert probe_clip(tmp_path / "x.mp4").declared == FRAMES
    assert numbers(tmp_path / "x.mp4") == list(range(FRAMES // 2))


@pytest.mark.parametrize("flags", ["faststart", "frag_keyframe+empty_moov"])
def test_mp4_that_is_cut_short_is_refused_although_its_header_is_there(tmp_path: Path, flags: str) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w", options={"movflags": flags}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for number in range(FRAMES):
            image = np.full((32, 48, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    assert numbers(tmp_path / "x.mp4") == list(range(FRAMES))
    content = (tmp_path / "x.mp4").read_bytes()
    for share in (0.3, 0.6, 0.9, 0.99):
        (tmp_path / "x.mp4").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DecodeFailed):
            probe_clip(tmp_path / "x.mp4")


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264"])
def test_an_avi_with_empty_packets_holds_the_frames_between_them(tmp_path: Path, codec: str) -> None:
    times = [number + 5 * (number > 7) + 30 * (number > 12) for number in range(FRAMES)]
    write(tmp_path / "x.avi", codec, times)
    info = probe_clip(tmp_path / "x.avi")
    assert (info.frames, info.declared, info.timing) == (FRAMES, FRAMES + 35, "variable")
    assert numbers(tmp_path / "x.avi") == list(range(FRAMES))
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


@pytest.mark.parametrize("count", [RIGHT, 0, FRAMES - 5, FRAMES + 5, NEVER])
@pytest.mark.parametrize("pictures_size", [RIGHT, *UNKNOWN])
@pytest.mark.parametrize("file_size", [RIGHT, *UNKNOWN])
def test_an_avi_is_whole_if_anything_in_it_says_so(
    tmp_path: Path, file_size: str | int, pictures_size: str | int, count: str | int
) -> None:
    path = tmp_path / "x.avi"
    write(path, "mjpeg")
    content = bytearray(path.read_bytes())
    first = content.index(b"movi")
    end = first + int.from_bytes(content[first - 4 : first], "little")
    for place, value in ((4, file_size), (first - 4, pictures_size), (content.index(b"strh") + 40, count)):
        if isinstance(value, int):
            content[place : place + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)
    says_length = RIGHT in (file_size, pictures_size)
    if says_length or count in (RIGHT, 0, FRAMES - 5, NEVER):
        assert numbers(path) == list(range(FRAMES))
    path.write_bytes(content[: (first + end) // 2])
    if says_length or count in (RIGHT, FRAMES - 5, FRAMES + 5):
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
        for number in range(FRAMES):
            image = np.full((32, 48, 3), 12 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    pipe.close()
    assert numbers(path) == list(range(FRAMES))
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
    path, half = tmp_path / "x.avi", FRAMES // 2
    write(path, "mjpeg")
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
    assert numbers(path) == list(range(FRAMES))
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
    write(tmp_path / "x.mp4", "libx264")
    write_with_cover(tmp_path / "both.mp4", tmp_path / "x.mp4")
    assert numbers(tmp_path / "both.mp4") == list(range(FRAMES))


def test_a_codec_without_a_decoder_is_named(tmp_path: Path) -> None:
    write(tmp_path / "x.avi", "mpeg4")
    content = (tmp_path / "x.avi").read_bytes().replace(b"FMP4", b"ZZZZ")
    (tmp_path / "x.avi").write_bytes(content)
    with pytest.raises(DecodeFailed, match="frame 0: the video stream is of a codec that has no decoder here"):
        probe_clip(tmp_path / "x.avi")


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
