"""A clip that is made, for those who want the shapes of a system's input and have none at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.datasets.motion_shapes import CLASSES, MotionShapesParams
from worker.video.generated.motion_shapes import pair_frames, write_avi
from worker.video.generated.shapes import background

PARAMS = MotionShapesParams(size=128, min_frames=65, max_frames=65)
"""As long as two of VideoLSTM's snippets, with flow."""


def sample_clip(folder: Path) -> Path:
    """Write a clip of 65 frames of 128 x 128 pixels into a folder, and return its file."""
    scene = background(PARAMS.size, np.random.default_rng(PARAMS.seed))
    path = folder / "sample.avi"
    write_avi(path, pair_frames(CLASSES[0], PARAMS, scene, 1, 1)[0])
    return path
