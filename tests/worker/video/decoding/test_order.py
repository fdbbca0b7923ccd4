"""Which packet becomes which frame, by what packets say of themselves."""

from __future__ import annotations

import av

from worker.video.decoding.order import Structure, structure

HEADERS, VOP = b"\x00\x00\x01\x20settings", b"\x00\x00\x01\xb6"


KINDS = {"I": 0b00, "P": 0b01, "B": 0b10}


def stream_of(pictures: str, headers: dict[int, bytes], keyframes: set[int]) -> list[av.Packet]:
    """Return packets that say what they hold, and hold nothing."""
    packets = []
    for place, kind in enumerate(pictures):
        packet = av.Packet(headers.get(place, b"") + VOP + bytes([KINDS[kind] << 6]) + b"data")
        packet.is_keyframe = place in keyframes
        packets.append(packet)
    return packets


def found(pictures: str, headers: dict[int, bytes], keyframes: set[int]) -> Structure:
    answer = structure("mpeg4", stream_of(pictures, headers, keyframes))
    assert answer is not None
    return answer


def test_decoding_begins_only_where_nothing_before_is_needed() -> None:
    pictures, same = "IPPIPIPIP", {0: HEADERS, 3: HEADERS, 5: b"\x00\x00\x01\x20others", 7: HEADERS}
    assert list(found(pictures, same, {0, 3, 5, 7}).entries) == [0, 3, 7]  # 5 would be decoded in another way
    assert list(found(pictures, same, {0, 3, 4}).entries) == [0, 3]  # 4 only says that it is one
    assert list(found("PPIP", {0: HEADERS, 2: HEADERS}, {2}).entries) == [0, 2]


def test_no_more_is_decoded_than_needed() -> None:
    every = {0: HEADERS, 4: HEADERS, 8: HEADERS}
    clip = found("IPBPIPBPIBP", every, set(every))
    assert list(clip.order) == [0, 2, 1, 3, 4, 6, 5, 7, 9, 8, 10]
    assert clip.runs([0, 8]) == [[0], [8]]
    assert clip.runs([3, 1]) == [[0, 1, 3]]
    assert clip.runs([10]) == [[8, 10]]
    assert clip.runs([9]) == [[4, 5, 7, 8, 9]]  # a B picture between 7 and 8
    assert clip.runs([6, 2]) == [[0, 1, 2], [4, 5, 6]]  # each between two pictures of its own run
    assert clip.runs([1, 4, 8, 9]) == [[0, 1], [4, 5, 7, 8, 9]]
    assert clip.runs([1, 6, 9, 10]) == [[0, 1], [4, 5, 6, 7, 8, 9, 10]]


def test_packets_without_exactly_one_picture_have_no_order() -> None:
    packets = stream_of("IPP", {0: HEADERS}, {0})
    assert structure("h264", packets) is None
    for content in (b"data", VOP):
        assert structure("mpeg4", [*packets, av.Packet(content)]) is None
