"""Strips of a few clips for pictures: which clips and frames, and frames as small JPEGs; without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.pictures import FlowStrip
from services.specs import FlowQuantization
from worker.contract import Reporter
from worker.video.decoding.decode import FrameReader
from worker.video.flow.quantization import LEVELS
from worker.video.survey.manifest import Clip, Manifest

SHORT_SIDE = 112
"""Pixels of a small frame; smaller ones keep their size."""
QUALITY = 85
FLOW_CLIPS = 8
"""Clips of a dataset whose flow is left, over all shards, one for each of them at least."""


class FrameStrips:
    """Reads chosen frames of clips as small JPEGs; what cannot be read costs its picture, and nothing more.

    Args:
        manifest: says where clips lie.
        reader: of frames.
        report: is told of clips that cannot be read.
    """

    def __init__(self, manifest: Manifest, reader: FrameReader, report: Reporter) -> None:
        self._root, self._reader, self._report = manifest.root, reader, report

    def images(self, clip: Clip, frames: Sequence[int]) -> tuple[bytes, ...] | None:
        """Return a JPEG for each frame, or None where the clip cannot be read."""
        try:
            found = self._reader.read(self._root / clip.path, frames, paired=clip.paired)
        except (DataError, OSError) as error:
            self._report.warning(f"no pictures of {clip.id}: {error}")
            return None
        return tuple(jpeg(small(frame)) for frame in found)


def small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) with the short side of a picture."""
    height, width = small_size(*image.shape[:2])
    found: NDArray[np.uint8] = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return found


def small_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of a frame as a picture."""
    scale = min(1.0, SHORT_SIDE / min(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return rgb (H, W, 3) as a JPEG."""
    done, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done, f"cv2.imencode refused a picture of {image.shape}"
    return content.tobytes()


def flow_strip(
    clip: Clip,
    frames: Sequence[int],
    images: tuple[bytes, ...],
    fields: NDArray[np.uint8],
    bound: float,
    method: FlowQuantization,
) -> FlowStrip:
    """Return flow as a picture has it, from the bytes of a flow stage.

    Args:
        clip: whose flow it is.
        frames: S numbers.
        images: of these frames.
        fields: uint8 (S, 2, H, W), which may be smaller than the frames.
        bound: in pixels, of ``linear``.
        method: of quantisation.
    """
    unit = bound * clip.width / fields.shape[3] if method == "linear" else 1.0
    motion = (fields.astype(np.float32) / LEVELS * 2 - 1) * unit
    return FlowStrip(clip.id, tuple(frames), images, _shrunk(motion, clip), in_pixels=method == "linear")


def _shrunk(motion: NDArray[np.float32], clip: Clip) -> NDArray[np.float16]:
    height, width = small_size(clip.height, clip.width)
    components: Iterable[NDArray[np.float32]] = motion.reshape(-1, *motion.shape[2:])
    found = [cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in components]
    return np.stack(found).reshape(*motion.shape[:2], height, width).astype(np.float16)
