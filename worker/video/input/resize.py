"""Resizing of bytes, on a processor with as many threads as torch may use."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from worker.video.decoding.threads import side_by_side

PIXEL_CHANNELS = 4  # up to which torch resizes whole pixels of bytes at once
PIECE_BYTES = 1 << 19  # of frames, for less of which another thread does not pay


def resize_bytes(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize uint8 (N, C, H, W) bilinearly with antialiasing, rounded to whole values.

    Values differ by at most 1 from those of resizing floats and rounding. On a processor rgb takes a tenth of the time
    of floats, fastest as it comes from the decoder, with the channels of a pixel side by side; flow takes a fifth.
    Frames of that size already are returned as they are.
    """
    if frames.shape[-2:] == (height, width):
        return frames
    if frames.device.type != "cpu":
        return _interpolate(frames.float(), height, width).round().clamp(0, 255).to(torch.uint8)
    if frames.shape[1] <= PIXEL_CHANNELS:
        return _in_pieces(frames.contiguous(memory_format=torch.channels_last), height, width)
    planes = frames.reshape(-1, 1, *frames.shape[-2:])
    return _in_pieces(planes, height, width).reshape(*frames.shape[:2], height, width)


def _in_pieces(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize frames in several threads where there are enough: torch itself takes one for bytes."""
    pieces = min(torch.get_num_threads(), frames.numel() // PIECE_BYTES)
    if pieces < 2:
        return _interpolate(frames, height, width)
    layout = torch.channels_last if frames.shape[1] > 1 else torch.contiguous_format
    resized = torch.empty((*frames.shape[:2], height, width), dtype=torch.uint8, memory_format=layout)

    inference = torch.is_inference_mode_enabled()  # of this thread alone

    def fill(out: Tensor, piece: Tensor) -> None:
        with torch.inference_mode(inference):
            out.copy_(_interpolate(piece, height, width))

    parts = zip(resized.tensor_split(pieces), frames.tensor_split(pieces), strict=True)
    side_by_side([partial(fill, out, piece) for out, piece in parts])
    return resized


def _interpolate(frames: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(frames, (height, width), mode="bilinear", antialias=True, align_corners=False)
