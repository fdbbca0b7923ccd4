"""Parameters and lists of `motion_shapes`, the generated dataset whose classes differ in motion and order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CLASSES = (
    "SlideLeft",
    "SlideRight",
    "GrowShrink",
    "ShrinkGrow",
    "RedBlue",
    "BlueRed",
    "SpinSlide",
    "SlideSpin",
)
GROUPS = range(1, 26)
TEST_GROUPS = {1: range(1, 8), 2: range(8, 15), 3: range(15, 22)}
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
    def digest(self) -> str:
        """SHA-256 of what decides on the clips, and on where their shapes are."""
        return digest_of(self.model_dump(mode="json"))

    @property
    def folder_name(self) -> str:
        """Name of the folder of these clips and their lists, below the data root."""
        return f"motion_shapes-{self.digest[:16]}"


def digest_of(params: Mapping[str, Any]) -> str:
    """Return the digest of parameters as they are stored."""
    content = json.dumps({"recipe": RECIPE, **params}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def clip_path(name: str, group: int, number: int) -> str:
    """Return a clip's path below the root, as UCF101 names it."""
    return f"{name}/v_{name}_g{group:02d}_c{number:02d}.avi"


def listed_clips(params: MotionShapesParams, split: int, part: Literal["train", "test"]) -> list[tuple[str, int]]:
    """Return path and label, from 0, of the clips of a part of a split, in the order of its list."""
    return [
        (clip_path(name, group, number), label)
        for label, name in enumerate(CLASSES)
        for group in GROUPS
        for number in range(1, params.clips_per_group + 1)
        if (group in TEST_GROUPS[split]) == (part == "test")
    ]
