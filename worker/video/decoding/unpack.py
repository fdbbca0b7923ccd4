"""One picture for each packet of MPEG-4 part 2.

A packed clip, as DivX began it, has packets with two pictures, and a placeholder after them. `unpack` gives each
packet one picture, where it is certain what FFmpeg's decoder does: it keeps the second picture of a packet until the
next packet, which it then does not read but for a B picture that may follow, and a picture that waits at the end is
not shown. FFmpeg's own filter, ``mpeg4_unpack_bframes``, is not used: it knows placeholders by their size, and it takes
bytes of a picture for the end of a user data string and overwrites them (measured with FFmpeg 8.1.2 on an intra-only
clip).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import av

from worker.video.decoding.mpeg4 import B_VOP, PREFIX, VOP_START, PacketReader, Vop, headers_of

Packet = Any
"""PyAV's, generic over streams for its type stubs and not when it runs."""


class Picture(NamedTuple):
    """A packet with one picture, or with a placeholder that the decoder reads.

    Attributes:
        packet: as a decoder may get it instead of the file's.
        carrier: the packet of the file with which FFmpeg's decoder takes it, numbered from 0.
        vop: what the packet holds.
        headers: what stands before that, see `headers_of`.
    """

    packet: Packet
    carrier: int
    vop: Vop
    headers: bytes


class NotCertain(Exception):
    """What FFmpeg's decoder makes of some packets does not follow from what is read here."""


def unpack(extradata: bytes | None, packets: Iterable[Packet]) -> list[Picture]:
    """Return the pictures in all packets of a clip; packets without any, as late encoders write them, are left out.

    Raises:
        NotCertain: a picture gets lost in the decoder, or may get lost.
    """
    reader = PacketReader(extradata)
    found: list[Picture] = []
    waiting: tuple[Packet, Vop] | None = None
    moved = False  # the picture that waits came after another one that waited
    for number, packet in enumerate(packets):
        content = bytes(packet)
        vops = reader.vops(content)
        if waiting is not None:
            found.append(Picture(waiting[0], number, waiting[1], b""))
            waiting, moved = _behind(packet, vops), True
        elif len(vops) == 1:
            found.append(Picture(packet, number, vops[0], headers_of(content, vops[0].start)))
        elif vops:
            now, later = _halves(packet, content, vops)
            found.append(Picture(now, number, vops[0], headers_of(content, vops[0].start)))
            waiting, moved = (later, vops[1]), False
        elif PREFIX in content:  # headers alone would not be left out
            raise NotCertain
    if waiting is not None and moved:
        raise NotCertain
    return found


def _halves(packet: Packet, content: bytes, vops: Sequence[Vop]) -> tuple[Packet, Packet]:
    """Return the picture that is decoded with a packet, and the one that waits for the next."""
    first, second = vops[:2]
    between = content.find(PREFIX, first.start + len(VOP_START), second.start) >= 0
    if len(vops) > 2 or between or second.kind != B_VOP or not (first.coded and second.coded):
        raise NotCertain
    now = _part(packet, content[: second.start], keyframe=packet.is_keyframe)
    return now, _part(packet, content[second.start :], keyframe=False)


def _behind(packet: Packet, vops: Sequence[Vop]) -> tuple[Packet, Vop] | None:
    """Return what waits in turn when a packet is not read since a picture waited before it."""
    if not any(vop.coded or vop.kind == B_VOP for vop in vops):
        return None
    if len(vops) == 1 and vops[0].coded and vops[0].kind == B_VOP:
        return packet, vops[0]
    raise NotCertain


def _part(packet: Packet, content: bytes, *, keyframe: bool) -> Packet:
    part = av.Packet(len(content))  # FFmpeg's own memory: a decoder reads ahead, and its threads free without the GIL
    part.update(content)
    part.time_base, part.is_keyframe = packet.time_base, keyframe
    return part
