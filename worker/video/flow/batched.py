"""Flow of whole clips in batches of frame pairs, from uint8 frames to uint8 fields, on a GPU or a CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.params import FlowMethodParams
from worker.video.decoding.pixels import Colour
from worker.video.flow.brox import Brox
from worker.video.flow.quantization import to_levels
from worker.video.flow.raft import Raft
from worker.video.flow.tvl1 import TVL1

Batched = Callable[[Tensor, Tensor], Tensor]

# Pixels of a batch: on a GPU 512 pairs of 340 x 256 for the variational methods, whose state is some 120 bytes a pixel.
BATCH_PIXELS = {"cuda": 512 * 340 * 256, "cpu": 8 * 340 * 256}
RAFT_PART = 16  # its correlation volume and features take that much more


def build(params: FlowMethodParams, device: torch.device) -> ClipFlow:
    """Return what computes the flow of clips.

    Raises:
        UserError: RAFT's weights cannot be read.
        ValueError: the algorithm has no batched form.
    """
    method: Batched
    if params.algorithm == "tvl1":
        method = TVL1()
    elif params.algorithm == "brox":
        method = Brox()
    elif params.algorithm == "raft":
        method = Raft(params.raft or "large", params.weights or "default", device)
    else:
        raise ValueError(f"flow algorithm: got {params.algorithm!r}, allowed in batches: 'tvl1', 'brox', 'raft'")
    return ClipFlow(method, params, device)


class ClipFlow:
    """Computes and quantises the flow of clips.

    Args:
        method: from two batches of frames to float32 (N, 2, H, W).
        params: bound and quantisation, and the algorithm, which says what frames it wants.
        device: where it runs.

    Attributes:
        colour: of the frames that it wants: ``rgb`` for RAFT, else ``grey``.
    """

    def __init__(self, method: Batched, params: FlowMethodParams, device: torch.device) -> None:
        self._method, self._params, self._device = method, params, device
        self.colour: Colour = "rgb" if params.algorithm == "raft" else "grey"
        self._batch_pixels = BATCH_PIXELS[device.type] // (RAFT_PART if params.algorithm == "raft" else 1)

    def fields(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the T - 1 fields, uint8 (T - 1, 2, H, W), of frames uint8 (T, H, W) or (T, H, W, 3)."""
        return self.pairs(frames, np.arange(len(frames) - 1), np.arange(1, len(frames)))

    @torch.inference_mode()
    def pairs(
        self, frames: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Return the motion from frame ``first[i]`` to frame ``second[i]``: uint8 (N, 2, H, W)."""
        images = torch.from_numpy(np.ascontiguousarray(frames)).to(self._device)
        if images.ndim == 4:
            images = images.permute(0, 3, 1, 2)
        height, width = images.shape[-2:]
        fields = np.empty((len(first), 2, height, width), np.uint8)
        batch = max(1, self._batch_pixels // (height * width))
        for start in range(0, len(first), batch):
            part = slice(start, start + batch)
            before, after = (torch.from_numpy(side[part]).to(self._device) for side in (first, second))
            flow = self._method(images[before], images[after])
            levels = to_levels(flow, self._params.bound, self._params.quantization, torch)
            fields[part] = levels.to(torch.uint8).cpu().numpy()
        return fields
