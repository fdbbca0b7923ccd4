"""Small pictures of frames: arrays that can be compared, JPEGs that stages left, and films, by Pillow.

Matplotlib brings Pillow along; nothing here decodes video.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FRAME_MILLISECONDS = 150
QUALITY = 80

_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Raster:
    """An array that has a hash, so that a drawing of equal ones is rendered once."""

    shape: tuple[int, ...]
    dtype: str
    content: bytes

    @classmethod
    def of(cls, values: NDArray[Any]) -> Self:
        """Keep an array."""
        return cls(values.shape, values.dtype.str, np.ascontiguousarray(values).tobytes())

    @property
    def values(self) -> NDArray[Any]:
        """The array, which is not to be changed."""
        return np.frombuffer(self.content, self.dtype).reshape(self.shape)


def decoded(image: bytes) -> NDArray[np.uint8]:
    """Return a JPEG as rgb, uint8 (H, W, 3)."""
    from PIL import Image  # noqa: PLC0415 - as Matplotlib, only where a picture is asked for

    with Image.open(io.BytesIO(image)) as opened:
        return np.asarray(opened.convert("RGB"), np.uint8)


def greyed(image: bytes) -> NDArray[np.uint8]:
    """Return a JPEG without its colours and half as bright, for something that is laid over it; uint8 (H, W, 3)."""
    grey = decoded(image).astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat((grey * 0.6)[..., None].astype(np.uint8), 3, axis=2)


def enlarged(values: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Return a map (h, w) on a finer grid (H, W), by cubic interpolation, at least 0."""
    from PIL import Image  # noqa: PLC0415

    fine = Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(fine, np.float32), 0)


@lru_cache(maxsize=8)
def film(frames: Sequence[Raster]) -> bytes:
    """Return rgb frames, uint8 (H, W, 3) of one size, as an animated WebP that goes on for ever; a tuple of them."""
    from PIL import Image  # noqa: PLC0415

    written = io.BytesIO()
    with _one_at_a_time:
        first, *others = [Image.fromarray(frame.values) for frame in frames]
        first.save(
            written,
            format="WEBP",
            save_all=True,
            append_images=others,
            duration=FRAME_MILLISECONDS,
            loop=0,
            quality=QUALITY,
        )
    return written.getvalue()
