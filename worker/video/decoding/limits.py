"""How large a frame may be, and how many bytes a decode may ask for: a file of a megabyte can ask for gigabytes.

A frame's size is looked at before anything is decoded, and FFmpeg gets the limit for frames that turn out larger
than their header says.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import av

from services.limits import MAX_DECODE_GIGABYTES, MAX_FRAME_MEGAPIXELS
from worker.video.decoding.decoder import DecodeFailed

if TYPE_CHECKING:
    from worker.contract import Task  # whose imports take longer than all else of a process that inspects clips


class Limits(NamedTuple):
    """What may be decoded.

    Attributes:
        pixels: of a frame, width x height.
        bytes: of the frames, or flow fields, that one call returns.
    """

    pixels: int = int(MAX_FRAME_MEGAPIXELS * 10**6)
    bytes: int = int(MAX_DECODE_GIGABYTES * 10**9)

    @classmethod
    def of(cls, task: Task) -> Limits:
        """Return the limits of a stage."""
        return cls(task.max_frame_pixels, task.max_decode_bytes)

    @property
    def options(self) -> dict[str, str]:
        """Options of FFmpeg, whose decoders then refuse larger frames."""
        return {"max_pixels": str(self.pixels)}

    def require_frame(self, path: Path, width: int, height: int) -> None:
        """Refuse frames that are too large.

        Args:
            path: the clip.
            width: of a frame by the header; 0 where FFmpeg has refused it already, or does not know it.
            height: likewise.

        Raises:
            DecodeFailed: names the size and what is allowed.
        """
        if not width or not height:
            width, height = _declared_size(path)
        if width * height > self.pixels:
            reason = f"frames of {width}x{height} pixels, allowed: {self.pixels} pixels"
            raise DecodeFailed(path, 0, f"{reason}; hint: TWOSTREAM_MAX_FRAME_MEGAPIXELS")

    def require_bytes(self, path: Path, frames: int, width: int, height: int, channels: int) -> None:
        """Refuse to hold so many frames, or flow fields, of a clip at once, a byte for each channel of a pixel.

        Raises:
            DecodeFailed: names what they take and what is allowed.
        """
        wanted = frames * width * height * channels
        if wanted > self.bytes:
            what = f"{frames} frames of {width}x{height}x{channels} take {wanted / 1e9:.1f} GB at once"
            reason = f"{what}, allowed: {self.bytes / 1e9:g} GB; hint: TWOSTREAM_MAX_DECODE_GIGABYTES"
            raise DecodeFailed(path, 0, reason)


LIMITS = Limits()
"""What is allowed by default."""


def _declared_size(path: Path) -> tuple[int, int]:
    """Return the size of a clip's frames by its header, without decoding one; 0 where it does not say."""
    try:
        with av.open(str(path), options={"skip_frame": "all"}, metadata_errors="replace") as file:
            sizes = [(stream.width, stream.height) for stream in file.streams.video if stream.codec_context]
    except (av.FFmpegError, OSError, ValueError):  # whoever reads it next says why
        return 0, 0
    return max(sizes, default=(0, 0), key=lambda size: size[0] * size[1])
