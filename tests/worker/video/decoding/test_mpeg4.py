"""What packets of MPEG-4 part 2 hold, read from the bitstream of an encoder."""

from __future__ import annotations

import pytest

from tests.worker.video.made_clips import B_PICTURE, NOTHING, PACKED, VOP_START, XVID, mpeg4, pictures, placeholder
from worker.video.decoding.mpeg4 import I_VOP, Layer, PacketReader, headers_of, layer_in, takes_nothing

PACKETS = mpeg4(pictures(8, "bars"), b_pictures=1, group=8)
HEADERS = PACKETS[0][: PACKETS[0].index(VOP_START)]


def test_a_picture_is_found_with_its_kind() -> None:
    reader = PacketReader(None)
    found = [reader.vops(packet) for packet in PACKETS]
    assert [len(vops) for vops in found] == [1] * 8
    assert all(vops[0].coded for vops in found)
    kinds = [vops[0].kind for vops in found]
    assert kinds[0] == I_VOP
    assert kinds.count(B_PICTURE) == 3
    assert found[0][0].start == len(HEADERS)


@pytest.mark.parametrize(("marks", "expected"), [(PACKED, 2), (XVID, 1)])
def test_a_second_picture_counts_where_the_headers_say_that_packets_hold_two(marks: bytes, expected: int) -> None:
    first, second = mpeg4(pictures(2, "bars"), marks=marks)
    assert len(PacketReader(None).vops(first + second)) == expected


def test_what_is_not_coded_is_no_picture_once_the_layer_is_known() -> None:
    assert [vop.coded for vop in PacketReader(None).vops(placeholder(3))] == [True]  # nothing says where its flag is
    assert [vop.coded for vop in PacketReader(HEADERS).vops(placeholder(3))] == [False]
    assert PacketReader(HEADERS).vops(NOTHING) == []


def test_a_layer_says_how_a_picture_counts_time() -> None:
    assert layer_in(HEADERS) == Layer(time_bits=5, interlaced=False)  # of 25 in a second
    assert layer_in(HEADERS[:20]) == layer_in(b"") == Layer()


def test_headers_are_the_same_whatever_the_time_of_a_group() -> None:
    group = b"\x00\x00\x01\xb3" + bytes(3)
    assert headers_of(b"ab" + group + VOP_START, 2 + len(group)) == b"ab"
    assert headers_of(b"ab" + VOP_START, 2) == b"ab"
    assert headers_of(VOP_START, 0) == b""


@pytest.mark.parametrize(
    ("tag", "headers", "expected"), [("xvid", b"", True), ("FMP4", XVID, True), ("FMP4", b"Lavc61", False)]
)
def test_encoders_that_are_late_by_a_picture_are_known(tag: str, headers: bytes, expected: bool) -> None:
    assert takes_nothing(tag, headers) == expected
