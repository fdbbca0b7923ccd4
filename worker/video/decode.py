"""How frames come out of a clip: PyAV and the FFmpeg that it ships (torch-free).

A clip either yields exactly the frames that it holds, upright and in order of presentation, or raises `DecodeFailed`.
The header's frame count is never believed: UCF101's ``v_YoYo_g11_c04.avi`` declares 195 frames and holds 194. It only
serves to notice a file that was cut short, whose packets are fewer than declared. Interlaced frames come woven, as they
are stored; a variable frame rate changes nothing, since frames are counted and not timed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.video.container import Container, DecodeFailed
from worker.video.order import is_b_picture, presentation_order
from worker.video.pixels import Colour, Converter

__all__ = ["Colour", "DecodeFailed", "decode_clip", "decode_frames", "iterate_frames"]

Images = dict[int, NDArray[np.uint8]]


def iterate_frames(path: Path, colour: Colour = "rgb", threads: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Yield every frame of a clip in order: uint8 (H, W, 3), or (H, W) for grey, which has the full range 0 to 255.

    Raises:
        DecodeFailed: when a frame that does not decode, or the early end of the file, is reached.
    """
    convert = Converter(colour)
    with Container(path, threads) as container:
        for frame in container.frames():
            yield convert(frame, container.turns)


def decode_clip(path: Path, colour: Colour = "rgb", threads: int = 1) -> NDArray[np.uint8]:
    """Return every frame of a clip: uint8 (T, H, W, 3), or (T, H, W) for grey.

    Raises:
        DecodeFailed: any frame does not decode, the file is cut short, or it holds no picture.
    """
    return np.stack(list(iterate_frames(path, colour, threads)))


def decode_frames(
    path: Path, frames: Sequence[int], colour: Colour = "rgb", *, paired: bool = False, threads: int = 1
) -> NDArray[np.uint8]:
    """Return chosen frames, in the given order, repeats allowed; what lies behind the last of them is not decoded.

    Args:
        path: the clip.
        frames: N >= 1 frame numbers, from 0.
        colour: ``rgb`` or ``grey``.
        paired: the clip's packets and frames are known to pair off (``ClipInfo.paired``), so that
            groups of frames and B pictures that nobody wants need not be decoded. The pixels are equal.
        threads: of the decoder.

    Returns:
        uint8 (N, H, W, 3), or (N, H, W) for grey.

    Raises:
        DecodeFailed: a chosen frame, or one that it needs, does not decode or does not exist.
        ValueError: no frame was chosen, or a negative one.
    """
    if not frames or min(frames) < 0:
        raise ValueError(f"frames: got {list(frames)}, allowed: one or more numbers from 0")
    with Container(path, threads) as container:
        images = (_selected if paired else _sequential)(container, set(frames), Converter(colour))
    first = images[frames[0]]
    chosen = np.empty((len(frames), *first.shape), np.uint8)
    for place, number in enumerate(frames):
        chosen[place] = images[number]
    return chosen


def _sequential(container: Container, wanted: set[int], convert: Converter) -> Images:
    """Decode from the beginning up to the last wanted frame."""
    images: Images = {}
    last = max(wanted)
    for frame in container.frames():
        if container.count in wanted:
            images[container.count] = convert(frame, container.turns)
        if container.count == last:
            return images
    raise DecodeFailed(container.path, last, f"the clip has {container.count} frames")


def _selected(container: Container, wanted: set[int], convert: Converter) -> Images:
    """Decode what the wanted frames need: from the keyframe before each one on, without unwanted B pictures."""
    context = container.stream.codec_context
    packets = [packet for packet in container.demux() if packet.size]
    order = presentation_order(container.codec, packets)
    if order is None:
        raise DecodeFailed(container.path, 0, "packets and frames no longer pair off, unlike when the clip was indexed")
    if max(wanted) >= len(order):
        raise DecodeFailed(container.path, max(wanted), f"the clip has {len(order)} frames")
    numbers = {order[number]: number for number in wanted}
    images: Images = {}
    for place in [*_needed(packets, set(numbers)), None]:
        packet = None if place is None else packets[place]
        if packet is not None:
            packet.pts = place  # comes out with the frame
            context.skip_frame = "DEFAULT" if place in numbers else "NONREF"
        for frame in container.decode(packet):
            if frame.pts in numbers:
                images[numbers[frame.pts]] = convert(frame, container.turns)
        if len(images) == len(numbers):
            return images
    lost = min(wanted - images.keys())
    raise DecodeFailed(container.path, lost, "its packet decodes to no frame, unlike when the clip was indexed")


def _needed(packets: list[Any], wanted: set[int]) -> list[int]:
    """Return, in order, the packets from the keyframe before each wanted one up to it.

    A B picture just behind a keyframe leans on the one before that too.
    """
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    needed: set[int] = set()
    for place in wanted:
        before = bisect_right(keys, place) - 1
        start = keys[before] if before >= 0 else 0
        if not packets[place].is_keyframe and before > 0 and is_b_picture(packets[place]):
            start = keys[before - 1]
        needed.update(range(start, place + 1))
    return sorted(needed)
