"""Parameters of `motion_shapes`, the generated dataset whose classes differ in motion and order."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

RECIPE = 1  # rises when the same parameters make other clips


class MotionShapesParams(BaseModel):
    """What the clips are made from; equal parameters give equal files, bit for bit.

    Attributes:
        seed: seed of all random choices.
        clips_per_group: clips of each class in each of the 25 groups.
        size: height and width of a frame in pixels.
        min_frames: shortest clip.
        max_frames: longest clip.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0)] = 0
    clips_per_group: Annotated[int, Field(ge=1, le=20)] = 2
    size: Annotated[int, Field(ge=32, le=512, multiple_of=16)] = 64
    min_frames: Annotated[int, Field(ge=28)] = 32
    max_frames: Annotated[int, Field(le=1000)] = 48

    @property
    def folder_name(self) -> str:
        """Name of the folder of these clips and their lists, below the data root."""
        content = json.dumps({"recipe": RECIPE, **self.model_dump(mode="json")}, sort_keys=True)
        return f"motion_shapes-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
