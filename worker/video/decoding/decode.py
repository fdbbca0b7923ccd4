"""How frames come out of a clip: PyAV and the FFmpeg that it ships.

A clip either yields exactly the frames that it holds, upright and in order of presentation, or raises `DecodeFailed`.
The header's frame count is never believed: UCF101's ``v_YoYo_g11_c04.avi`` declares 195 frames and holds 194. It only
serves to notice a file that was cut short, whose packets are fewer than declared. Interlaced frames come woven, as they
are stored; a variable frame rate changes nothing, since frames are counted and not timed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.words import counted
from worker.video.decoding.container import Container
from worker.video.decoding.decoder import DecodeFailed, Decoder, in_words
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.decoding.order import Packet, Structure, pictures
from worker.video.decoding.packets import FileIndex, Stamp
from worker.video.decoding.pixels import CHANNELS, Colour, Converter, shrunk
from worker.video.decoding.threads import side_by_side

__all__ = ["Colour", "DecodeFailed", "FrameReader", "decode_clip", "iterate_frames"]

MAX_CLIPS = 20_000


def iterate_frames(
    path: Path,
    colour: Colour = "rgb",
    *,
    short_side: int | None = None,
    limits: Limits = LIMITS,
) -> Iterator[NDArray[np.uint8]]:
    """Yield every frame of a clip in order: uint8 (H, W, 3), or (H, W) for grey, which has the full range 0 to 255.

    Args:
        path: the clip.
        colour: ``rgb`` or ``grey``.
        short_side: to which larger frames are brought.
        limits: how large its frames may be.

    Raises:
        DecodeFailed: when a frame that does not decode, or the early end of the file, is reached; frames are too large.
    """
    convert = Converter(path, colour, short_side)
    with Container(path, limits=limits) as container:
        for frame in container.frames():
            yield convert(frame, container.orientation, container.count)


def decode_clip(
    path: Path,
    colour: Colour = "rgb",
    threads: int = 1,
    *,
    short_side: int | None = None,
    limits: Limits = LIMITS,
) -> NDArray[np.uint8]:
    """Return every frame of a clip: uint8 (T, H, W, 3), or (T, H, W) for grey; see `iterate_frames`.

    Raises:
        DecodeFailed: any frame does not decode, the file is cut short, or it holds no picture; its frames are too
            large, or too many to be held at once.
    """
    convert = Converter(path, colour, short_side)
    frames: list[NDArray[np.uint8]] = []
    with Container(path, threads, limits) as container:
        size = shrunk(container.stream.width, container.stream.height, short_side)
        limits.require_bytes(path, container.declared, *size, CHANNELS[colour])
        for frame in container.frames():
            frames.append(convert(frame, container.orientation, container.count))
            height, width = frames[-1].shape[:2]
            limits.require_bytes(path, len(frames), width, height, CHANNELS[colour])
    whole = np.empty((len(frames), *frames[0].shape), np.uint8)
    for position in reversed(range(len(frames))):
        whole[position] = frames.pop()  # which gives its memory back: both at once would take twice as much
    return whole


class FrameReader:
    """Reads chosen frames of clips, and remembers where a clip's packets lie: 3 KB for a clip of UCF101.

    What it remembers is dropped when the file changes. Call it from one thread at a time.

    Args:
        max_clips: how many clips it remembers; the one that was not read for longest is forgotten first.
        threads: that decode groups of pictures of a clip side by side where it can be remembered, and else FFmpeg's; 1
            is right where clips are decoded in parallel. The pixels are equal.
        limits: how large frames may be, and what those of one call may take.
    """

    def __init__(self, max_clips: int = MAX_CLIPS, threads: int = 1, limits: Limits = LIMITS) -> None:
        self._max_clips, self._threads, self._limits = max_clips, threads, limits
        self._indices: OrderedDict[Path, FileIndex] = OrderedDict()

    def read(
        self,
        path: Path,
        frames: Sequence[int],
        colour: Colour = "rgb",
        *,
        paired: bool = False,
        short_side: int | None = None,
    ) -> NDArray[np.uint8]:
        """Return chosen frames, in the given order, repeats allowed; nothing after the last of them is decoded.

        Args:
            path: the clip.
            frames: N >= 1 frame numbers, from 0.
            colour: ``rgb`` or ``grey``.
            paired: the clip's packets and frames are known to pair off (``ClipInfo.paired``), so that
                groups of frames and B pictures that are not wanted need not be decoded. The pixels are equal.
            short_side: to which larger frames are brought.

        Returns:
            uint8 (N, H, W, 3), or (N, H, W) for grey.

        Raises:
            DecodeFailed: a chosen frame, or one that it needs, does not decode or does not exist; frames are too large,
                or too many to be held at once.
            ValueError: no frame was chosen, or a negative one.
        """
        if not frames or min(frames) < 0:
            raise ValueError(f"frames: got {list(frames)}, allowed: one or more numbers from 0")
        images = Images(path, frames, colour, short_side, self._limits)
        if not paired:
            _sequential(path, images, self._threads, self._limits)
        elif not self._from_index(path, images):
            self._from_packets(path, images)
        return images.array

    def _from_index(self, path: Path, images: Images) -> bool:
        """Read the packets that are needed, and no other; return False where the index is unknown or outdated."""
        index = self._indices.get(path)
        if index is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                if Stamp.of(file.fileno()) != index.stamp:
                    return False
                self._indices.move_to_end(path)
                read = index.packets(path, file.fileno())
                decoder = partial(index.decoder, path, self._limits)
                images.require(index.settings["width"], index.settings["height"])
                _side_by_side(decoder, index.structure, read, images, self._threads)
        except OSError as error:
            raise DecodeFailed(path, 0, in_words(error)) from error
        return True

    def _from_packets(self, path: Path, images: Images) -> None:
        """Look at every packet, and remember them."""
        with Container(path, self._threads, self._limits) as container:
            images.require(container.stream.width, container.stream.height)
            held = [packet for packet in container.demux() if packet.size]
            known = pictures(container.codec, container.stream.codec_context.extradata, held)
            if known is None:
                reason = "packets and frames no longer pair off, unlike when the clip was indexed"
                raise DecodeFailed(path, 0, reason)
            packets, found = known.packets, known.structure
            index = FileIndex.of(container, found, packets)
            if index is None:
                _side_by_side(lambda: container.decoder, found, packets.__getitem__, images, threads=1)
            else:
                decoder = partial(index.decoder, path, self._limits)
                _side_by_side(decoder, found, packets.__getitem__, images, self._threads)
        self._indices.pop(path, None)
        if index is not None:
            self._indices[path] = index
            if len(self._indices) > self._max_clips:
                self._indices.popitem(last=False)


class Images:
    """The chosen frames of a clip, filled in as they are decoded.

    Args:
        path: the clip.
        frames: their numbers, in the order of the result.
        colour: of the result.
        short_side: to which larger frames are brought.
        limits: what the result may take.

    Attributes:
        positions: of each chosen frame in the result.
        array: the result, uint8 (N, H, W, 3), or (N, H, W) for grey; empty before the first frame.
    """

    def __init__(
        self, path: Path, frames: Sequence[int], colour: Colour, short_side: int | None, limits: Limits
    ) -> None:
        self._path, self._number, self._limits = path, len(frames), limits
        self.colour, self.short_side = colour, short_side
        self._making = threading.Lock()
        self.positions: dict[int, list[int]] = {}
        for position, number in enumerate(frames):
            self.positions.setdefault(number, []).append(position)
        self.array: NDArray[np.uint8] = np.empty(0, np.uint8)

    def converter(self) -> Converter:
        """Return what turns decoded frames into those of the result; each thread needs its own."""
        return Converter(self._path, self.colour, self.short_side)

    def require(self, width: int, height: int) -> None:
        """Refuse a result that takes too much, by the size of the clip's frames.

        Raises:
            DecodeFailed: it does.
        """
        size = shrunk(width, height, self.short_side)
        self._limits.require_bytes(self._path, self._number, *size, CHANNELS[self.colour])

    def put(self, number: int, image: NDArray[np.uint8]) -> None:
        """Fill in a frame; several threads may."""
        with self._making:
            if not self.array.size:
                height, width = image.shape[:2]
                self.require(width, height)
                self.array = np.empty((self._number, *image.shape), np.uint8)
        for position in self.positions[number]:
            self.array[position] = image


def _side_by_side(
    new_decoder: Callable[[], Decoder],
    found: Structure,
    read: Callable[[int], Packet],
    images: Images,
    threads: int,
) -> None:
    """Decode what the wanted frames need, in several threads if more than one run of packets stands alone."""
    if max(images.positions) >= len(found.order):
        raise DecodeFailed(
            new_decoder().path, max(images.positions), f"the clip has {counted(len(found.order), 'frame')}"
        )
    runs = deque(found.runs(found.order[number] for number in images.positions))

    def work() -> None:
        try:
            _decode_runs(new_decoder(), found, read, images, runs)
        except BaseException:
            runs.clear()  # the others need not go on
            raise

    side_by_side([work] * min(threads, len(runs)))


def _decode_runs(
    decoder: Decoder, found: Structure, read: Callable[[int], Packet], images: Images, runs: deque[list[int]]
) -> None:
    """Take runs from the left until none is left, and fill in their frames."""
    decoder.frame_of = found.frame_of
    wanted = {found.order[number]: number for number in images.positions}
    missing: dict[int, int] = {}
    convert = images.converter()

    def decode(packet: Packet | None) -> None:
        for frame in decoder.decode(packet):
            if frame.pts in missing:
                number = missing.pop(frame.pts)
                images.put(number, convert(frame, decoder.orientation, number))

    while runs:
        try:
            run = runs.popleft()
        except IndexError:  # another thread was faster
            break
        missing |= {packet_number: wanted[packet_number] for packet_number in run if packet_number in wanted}
        for packet_number in run:
            packet = read(packet_number)
            packet.pts = packet_number  # comes out with the frame
            decode(packet)
    if missing:
        decode(None)
    if missing:
        reason = "its packet decodes to no frame, unlike when the clip was indexed"
        raise DecodeFailed(decoder.path, min(missing.values()), reason)


def _sequential(path: Path, images: Images, threads: int, limits: Limits) -> None:
    """Decode from the beginning up to the last wanted frame."""
    last = max(images.positions)
    convert = images.converter()
    with Container(path, threads, limits) as container:
        images.require(container.stream.width, container.stream.height)
        for frame in container.frames():
            if container.count in images.positions:
                images.put(container.count, convert(frame, container.orientation, container.count))
            if container.count == last:
                return
        raise DecodeFailed(path, last, f"the clip has {counted(container.count, 'frame')}")
