"""Flow stacks that are computed when a network asks for them; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from services.params import FlowMethodParams
from worker.video.decoding.decode import MAX_CLIPS, FrameReader
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.flow import batched
from worker.video.flow.saturation import Saturation, saturated
from worker.video.input.dataset import clip_stacks
from worker.video.mapped import FEW, Use
from worker.video.survey.manifest import Clip

ENOUGH_FIELDS = 100


def _ignore(_: str) -> None:
    """Do nothing with a warning."""


class OnTheFlyFlow:
    """Decodes the frames of a stack and computes its fields: a `worker.video.input.dataset.ClipSource`.

    The bytes are those that a `gpu_flow` stage with the codec ``raw`` stores, on the same device. On a GPU it belongs
    into the process that trains (loader workers that are forked cannot use CUDA).

    Args:
        root: folder of the clips.
        params: algorithm, bound, quantisation.
        stack: L, fields in a stack.
        device: where flow is computed.
        threads: that decode one clip.
        use: of a clip, which decides how many clips' packets are remembered.
        limits: how large frames may be, and what those of one read may take.
        warn: called once if many pixels move farther than the bound.
        enough_fields: that are seen before a warning may be given.

    Raises:
        UserError: RAFT's weights cannot be read.
    """

    def __init__(
        self,
        root: Path,
        params: FlowMethodParams,
        stack: int,
        device: torch.device,
        threads: int = 1,
        *,
        use: Use = "again",
        limits: Limits = LIMITS,
        warn: Callable[[str], None] = _ignore,
        enough_fields: int = ENOUGH_FIELDS,
    ) -> None:
        self._root, self._stack, self._params = root, stack, params
        self._saturation, self._warn, self._enough_fields = Saturation(params), warn, enough_fields
        self._flow = batched.build(params, device)
        self.channels = 2 * stack
        self._reader = FrameReader(MAX_CLIPS if use == "again" else FEW, threads, limits)

    def read(self, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        """Return uint8 (N, 2L, H, W), channels x1, y1, x2, y2, ...: the stack around each frame.

        Raises:
            DecodeFailed: the clip does not decode as far as the last frame wanted, or its frames are too large.
            DataError: the clip has one frame, or a single one may be looked at.
        """
        stacks = clip_stacks(clip, frames, self._stack, visible)  # (N, L)
        wanted, inverse = np.unique(stacks, return_inverse=True)
        numbers = np.union1d(wanted, wanted + 1)
        path = self._root / clip.path
        images = self._reader.read(
            path, numbers.tolist(), self._flow.colour, paired=clip.paired, short_side=self._params.resize
        )
        first, second = np.searchsorted(numbers, wanted), np.searchsorted(numbers, wanted + 1)
        computed = self._flow.pairs(images, first, second)
        self._look_at(computed)
        fields = computed[inverse.reshape(stacks.shape)]  # (N, L, 2, H, W)
        return torch.from_numpy(fields.reshape(len(frames), self.channels, *fields.shape[-2:]))

    def _look_at(self, fields: NDArray[np.uint8]) -> None:
        """Warn once, as soon as enough fields have been seen, where the bound clips many pixels."""
        self._saturation.add(saturated(fields), len(fields))
        if self._saturation.fields >= self._enough_fields and self._saturation.warning:
            self._warn(self._saturation.warning)
            self._warn = _ignore
