"""What the packets of MPEG-4 part 2 hold, read from the bitstream.

ISO/IEC 14496-2, section 6.2: a picture is a VOP, whose header says its kind and whether anything of it is coded. One
that is not coded is a placeholder: it becomes no frame.
"""

from __future__ import annotations

from typing import NamedTuple

VOP_START = b"\x00\x00\x01\xb6"  # then vop_coding_type, 2 bits
PREFIX = b"\x00\x00\x01"
VOL_CODES = range(0x20, 0x30)  # the codes of a layer's header
GROUP_CODE = 0xB3  # of the header of a group of pictures, which holds a time and two flags
LASTING = (PREFIX + b"\xb2", PREFIX + b"\xb5")
"""User data and the visual object: what a decoder reads there holds until it reads others, layers or not."""
NOTHING = b"\x7f"  # a packet of an encoder that is late by a picture
LATE_ENCODERS, LATE_TAGS = (b"XviD", b"DivX"), ("XVID", "XVIX", "RMP4", "ZMP4", "SIPP", "QMP4")
PACKER = b"DivX"  # in user data; a number after it that ends in ``p`` says that packets are packed
I_VOP, B_VOP = 0b00, 0b10
EXTENDED_ASPECT = 15
RECTANGLE, GREY_SHAPE = 0, 3
VBV_BITS = 79
HEADER_BYTES = 8  # of a picture, at which is looked


class Vop(NamedTuple):
    """A picture in a packet.

    Attributes:
        start: its first byte in the packet.
        kind: by the numbers of the standard, such as `B_VOP`.
        coded: it holds a picture; False for a placeholder. A header that cannot be read counts as that of a picture.
    """

    start: int
    kind: int
    coded: bool


class Layer(NamedTuple):
    """What the header of a video object layer says of its pictures.

    Attributes:
        time_bits: of a picture's part of a second; 0 where there is no header.
        interlaced: they may be of two fields.
    """

    time_bits: int = 0
    interlaced: bool = False


class PacketReader:
    """Reads the packets of a clip, in order.

    Args:
        extradata: what the container holds of the stream's headers, if anything.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._time_bits, self._headers, self._packed = 0, b"", False
        self._learn(extradata or b"")

    def vops(self, content: bytes) -> list[Vop]:
        """Return the pictures of the next packet that FFmpeg's decoder looks at, placeholders included.

        It looks at one, and at others only if the encoder's name in the headers says that packets may hold more.
        """
        found: list[Vop] = []
        start = content.find(VOP_START)
        if start > 0 and content[:start] != self._headers:
            self._learn(content[:start])
        while 0 <= start < len(content) - len(VOP_START):
            found.append(self._vop(content, start))
            if not self._packed:
                break
            start = content.find(VOP_START, start + len(VOP_START))
        return found

    def _learn(self, headers: bytes) -> None:
        self._headers = headers
        self._time_bits = layer_in(headers).time_bits or self._time_bits
        self._packed = self._packed or PACKER in headers

    def _vop(self, content: bytes, start: int) -> Vop:
        first = start + len(VOP_START)
        seen = content[first : first + HEADER_BYTES]
        header, width = int.from_bytes(seen), 8 * len(seen)
        kind = header >> width - 2
        # Seconds since the last one as ones and then a zero, marker, part of a second, marker, vop_coded.
        bit = width - 3
        while bit > 0 and header >> bit & 1:
            bit -= 1
        end = bit - self._time_bits - 3
        if not self._time_bits or end < 0:
            return Vop(start, kind, True)
        markers = header >> bit - 1 & header >> end + 1 & 1
        return Vop(start, kind, not markers or bool(header >> end & 1))


def takes_nothing(tag: str, headers: bytes) -> bool:
    """Return whether FFmpeg's decoder knows a writer of `NOTHING`, by the codec's tag or its name in headers.

    It then takes such packets for no pictures, and the next one for the picture that waits in a packed clip; else it
    refuses them.
    """
    return tag.upper() in LATE_TAGS or any(encoder in headers for encoder in LATE_ENCODERS)


def headers_of(content: bytes, start: int) -> bytes:
    """Return what stands before a picture, but for a group's time, which says nothing of how to decode."""
    if not start:
        return b""
    headers = content[:start]
    group = headers.find(PREFIX + bytes([GROUP_CODE]))
    if group < 0:
        return headers
    end = headers.find(PREFIX, group + 1)
    return headers[:group] + (headers[end:] if end >= 0 else b"")


def layer_in(headers: bytes) -> Layer:
    """Return the last layer in the headers before a picture."""
    found = Layer()
    offset = headers.find(PREFIX)
    while 0 <= offset < len(headers) - len(PREFIX):
        if headers[offset + len(PREFIX)] in VOL_CODES:
            found = _layer(headers[offset + 4 :])
        offset = headers.find(PREFIX, offset + 1)
    return found


def _layer(header: bytes) -> Layer:
    bits = _Bits(header)
    try:
        bits.take(1 + 8)  # random access, type
        version = bits.take(4 + 3) >> 3 if bits.take(1) else 1
        if bits.take(4) == EXTENDED_ASPECT:
            bits.take(8 + 8)
        if bits.take(1):  # control parameters
            bits.take(2 + 1)
            bits.take(VBV_BITS if bits.take(1) else 0)
        shape = bits.take(2)
        if shape == GREY_SHAPE and version != 1:
            bits.take(4)
        bits.take(1)
        resolution = bits.take(16)  # of time
        time_bits = max(1, (resolution - 1).bit_length()) if resolution else 0
        bits.take(1)
        bits.take(time_bits if bits.take(1) else 0)  # of a fixed rate
        if shape == RECTANGLE:
            bits.take(1 + 13 + 1 + 13 + 1)  # width and height
        return Layer(time_bits, interlaced=bool(bits.take(1)))
    except EOFError:
        return Layer()


class _Bits:
    def __init__(self, content: bytes) -> None:
        self._value, self._left = int.from_bytes(content), 8 * len(content)

    def take(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & (1 << count) - 1
