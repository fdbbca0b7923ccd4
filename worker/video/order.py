"""Which packet becomes which frame, read from the bitstream (torch-free).

An AVI holds no presentation times, and what FFmpeg guesses for them is wrong for a part of UCF101's XviD clips with B
pictures. For MPEG-4 part 2 the order follows from the kinds of pictures alone: a B picture is shown as it comes, every
other one when the next of its like comes. `worker.video.inspection` compares this with what the decoder does, clip by
clip.

Some of these clips are packed, as DivX began it: a packet holds two pictures, and a placeholder follows later.
FFmpeg's own filter for that, ``mpeg4_unpack_bframes``, is not used: it takes bytes of a picture for the end of a user
data string and overwrites them (measured with FFmpeg 8.1.2 on an intra-only clip).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import av

VOP_START = b"\x00\x00\x01\xb6"  # ISO/IEC 14496-2, 6.2.5: vop_start_code, then two bits of vop_coding_type
B_VOP = 0b10
PLACEHOLDER_BYTES = 19  # as FFmpeg has it: a packet up to this size behind a packed one holds no picture


Order = list[int]
Packet = Any
"""PyAV's, generic over streams for its type stubs and not when it runs."""


class Unpacker:
    """Gives each packet of a packed MPEG-4 stream one picture, in order; other packets pass as they are.

    A picture takes the place of the placeholder that comes later. One at the end without a placeholder has no time of
    its own, and is not shown, as FFmpeg does not show it.
    """

    def __init__(self) -> None:
        self._waiting: deque[Packet] = deque()

    def next(self, packet: Packet) -> Packet:
        """Return the packet that takes the place of this one."""
        content = bytes(packet)
        starts = _vop_starts(content)
        if not self._waiting and len(starts) < 2:
            return packet
        if len(starts) >= 2:
            cuts = [0, *starts[1:], len(content)]
            for first, last in pairwise(cuts):
                self._waiting.append(_part(packet, content[first:last], keyframe=packet.is_keyframe and first == 0))
        elif len(content) > PLACEHOLDER_BYTES:
            self._waiting.append(packet)
        picture = self._waiting.popleft()
        picture.dts = packet.dts
        return picture


def _part(packet: Packet, content: bytes, *, keyframe: bool) -> Packet:
    part = av.Packet(len(content))  # FFmpeg's own memory: a decoder reads ahead, and its threads free without the GIL
    part.update(content)
    part.time_base, part.is_keyframe = packet.time_base, keyframe
    return part


def presentation_order(codec: str, packets: Sequence[Packet]) -> Order | None:
    """Return the numbers of a clip's packets in the order in which their frames are shown.

    Returns:
        A permutation, or None for another codec than MPEG-4 part 2 and Motion JPEG, or for packets that do not hold
        one picture each.
    """
    order = _ORDERS.get(codec)
    return None if order is None else order(packets)


def is_b_picture(packet: Packet) -> bool:
    """Tell whether an MPEG-4 packet holds a B picture; Motion JPEG has none."""
    return _vop_kind(packet) == B_VOP


def _as_stored(packets: Sequence[Packet]) -> Order:
    return list(range(len(packets)))


def _mpeg4(packets: Sequence[Packet]) -> Order | None:
    order: Order = []
    held: int | None = None
    for number, packet in enumerate(packets):
        kind = _vop_kind(packet)
        if kind is None:
            return None
        if kind == B_VOP:
            order.append(number)
            continue
        if held is not None:
            order.append(held)
        held = number
    return order if held is None else [*order, held]


def _vop_kind(packet: Packet) -> int | None:
    """Return the coding type of a packet's picture, or None where it does not hold exactly one."""
    content = bytes(packet)
    starts = _vop_starts(content)
    return content[starts[0] + 4] >> 6 if len(starts) == 1 else None


def _vop_starts(content: bytes) -> list[int]:
    starts = []
    start = content.find(VOP_START)
    while 0 <= start < len(content) - 4:
        starts.append(start)
        start = content.find(VOP_START, start + 4)
    return starts


_ORDERS: MappingProxyType[str, Callable[[Sequence[Packet]], Order | None]] = MappingProxyType(
    {"mpeg4": _mpeg4, "mjpeg": _as_stored}
)
