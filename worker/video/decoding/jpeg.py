"""What a JPEG brings along: a picture of a Motion JPEG clip may depend on what stood in the pictures before it."""

from __future__ import annotations

from collections.abc import Iterator

QUANTIZATION, HUFFMAN, RESTARTS, SCAN = 0xDB, 0xC4, 0xDD, 0xDA  # ITU-T T.81, table B.1
APPLICATIONS, COMMENT = range(0xE0, 0xF0), 0xFE
HUFFMAN_LENGTHS = 16
REMARK_BYTES = 4  # by which FFmpeg's decoder knows an application, and the comments that it follows
NUMBER = 0x1F  # bits of a table's number, for Huffman with its class


def tables(content: bytes) -> frozenset[tuple[int, int]]:
    """Return the tables that a picture defines before its first scan: kind and number of each."""
    return frozenset(_tables(content))


def remarks(content: bytes) -> frozenset[tuple[int, bytes]]:
    """Return marker and first bytes of the comments and the application data before the first scan.

    FFmpeg's decoder follows some of them, such as a comment by which all pictures are upside down, until the clip ends.
    """
    segments = _segments(content)
    return frozenset((kind, body[:REMARK_BYTES]) for kind, body in segments if kind in APPLICATIONS or kind == COMMENT)


def _tables(content: bytes) -> Iterator[tuple[int, int]]:
    for kind, body in _segments(content):
        if kind == RESTARTS:
            yield kind, 0
        if kind not in (QUANTIZATION, HUFFMAN):
            continue
        offset = 0
        while offset < len(body):
            yield kind, body[offset] & NUMBER
            offset += 1 + (_huffman_bytes(body[offset + 1 :]) if kind == HUFFMAN else 64 * (1 + (body[offset] >> 4)))


def _huffman_bytes(table: bytes) -> int:
    """Return the size of a table: how many codes there are of each length, and a value for each code."""
    return HUFFMAN_LENGTHS + sum(table[:HUFFMAN_LENGTHS])


def _segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of the segments between the beginning and the first scan."""
    offset = 2
    while offset + 4 <= len(content) and content[offset] == 0xFF:
        kind, length = content[offset + 1], int.from_bytes(content[offset + 2 : offset + 4])
        if kind == 0xFF:  # any number of them may stand before a marker
            offset += 1
            continue
        if kind == SCAN:
            return
        yield kind, content[offset + 4 : offset + 2 + length]
        offset += 2 + length
