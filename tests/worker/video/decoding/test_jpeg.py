"""Motion JPEG whose pictures lean on earlier ones, as written or by damage."""

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worker.video.made_clips import assert_as_plain
from worker.video.decoding.decode import DecodeFailed, FrameReader, decode_clip
from worker.video.decoding.jpeg import HUFFMAN, QUANTIZATION, RESTARTS, tables
from worker.video.survey.inspection import probe_clip

FRAMES = 8


def segment(kind: int, body: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2) + body


def huffman(number: int) -> bytes:
    return bytes([number, *range(16)]) + bytes(sum(range(16)))


def write_clip(path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (FRAMES, 6, 8, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25, options={"qmin": "12", "qmax": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def test_tables_are_told_by_kind_and_number() -> None:
    quantization = segment(QUANTIZATION, bytes([0]) + bytes(64) + bytes([0x11]) + bytes(128))
    content = b"\xff\xd8" + segment(0xE0, b"JFIF\0") + quantization + b"\xff" + segment(RESTARTS, bytes(2))
    content += segment(HUFFMAN, huffman(0) + huffman(0x11)) + segment(0xDA, bytes(8)) + segment(HUFFMAN, huffman(1))
    assert tables(content) == {
        (QUANTIZATION, 0),
        (QUANTIZATION, 0x11),
        (RESTARTS, 0),
        (HUFFMAN, 0),
        (HUFFMAN, 0x11),
    }
    for end in range(len(content)):
        assert tables(content[:end]) <= tables(content)


def test_pictures_without_tables_of_their_own_are_read_with_those_before_them(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.avi")
    assert probe_clip(tmp_path / "whole.avi").paired
    path = tmp_path / "x.avi"
    with av.open(str(tmp_path / "whole.avi")) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                content = bytes(packet)
                start = content.index(b"\xff\xdb")
                end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
                bare = av.Packet(content if number == 0 else content[:start] + content[end:])
                bare.pts, bare.dts, bare.time_base, bare.stream = packet.pts, packet.dts, packet.time_base, copy
                target.mux(bare)
    frames = decode_clip(path)
    np.testing.assert_array_equal(frames, decode_clip(tmp_path / "whole.avi"))
    info = probe_clip(path)
    np.testing.assert_array_equal(FrameReader().read(path, [5, 2], paired=info.paired), frames[[5, 2]])


@pytest.mark.parametrize("where", [{0}, {3}, set(range(FRAMES))])
@pytest.mark.parametrize("remark", [b"Intel(R) JPEG Library, version 1,5", b"CS=ITU601", b"a comment"])
def test_a_comment_that_the_decoder_follows_counts_for_the_pictures_behind_it(
    tmp_path: Path, remark: bytes, where: set[int]
) -> None:
    write_clip(tmp_path / "plain.avi")
    path = tmp_path / "x.avi"
    with av.open(str(tmp_path / "plain.avi")) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            content = bytes(packet)
            said = av.Packet(content[:2] + segment(0xFE, remark + b"\0") * (number in where) + content[2:])
            said.pts, said.dts, said.time_base, said.stream = packet.pts, packet.dts, packet.time_base, copy
            target.mux(said)
    assert assert_as_plain(path).paired == (len(where) == FRAMES)


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_picture_is_refused_or_does_not_depend_on_those_before_it(tmp_path: Path, seed: int) -> None:
    write_clip(tmp_path / "x.avi")
    content = bytearray((tmp_path / "x.avi").read_bytes())
    rng = np.random.default_rng(seed)
    first, end = content.index(b"movi"), content.index(b"idx1")
    for place in rng.integers(first + (end - first) // FRAMES, end, 3).tolist():
        content[place : place + 20] = bytes(20)
    (tmp_path / "x.avi").write_bytes(content)
    with contextlib.suppress(DecodeFailed):
        frames = decode_clip(tmp_path / "x.avi")
        for number in range(len(frames)):
            alone = FrameReader().read(tmp_path / "x.avi", [number], paired=True)
            np.testing.assert_array_equal(alone[0], frames[number])
