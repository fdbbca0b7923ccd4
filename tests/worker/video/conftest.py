from pathlib import Path

import numpy as np
import pytest

from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import Clip


def moving_bars(num_frames: int, size: tuple[int, int] = (32, 48), step: int = 2) -> np.ndarray:
    """Return uint8 (T, H, W, 3): soft vertical bars that move ``step`` pixels to the right in each frame."""
    height, width = size
    places = np.arange(width)[None, :] - step * np.arange(num_frames)[:, None]
    bars = 127.5 + 100 * np.sin(2 * np.pi * places / 16)  # (T, W)
    rows = 20 * np.sin(np.arange(height) / 3)
    grey = bars[:, None, :] + rows[None, :, None]
    return np.rint(grey).astype(np.uint8)[..., None].repeat(3, axis=-1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Folder with two clips: A/a.avi of 12 frames, B/b.avi of 7."""
    for name, num_frames in (("A/a.avi", 12), ("B/b.avi", 7)):
        (tmp_path / name).parent.mkdir()
        write_avi(tmp_path / name, moving_bars(num_frames))
    return tmp_path


@pytest.fixture
def clips() -> tuple[Clip, Clip]:
    common = {"group": 1, "sha256": "", "fps": 25.0, "width": 48, "height": 32}
    return (
        Clip(id="A/a", path="A/a.avi", label=0, frames=12, **common),
        Clip(id="B/b", path="B/b.avi", label=1, frames=7, **common),
    )
