"""The manifest of a dataset: what the `index` stage writes and every later stage reads."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from worker.video.survey.inspection import DECODER, ClipInfo

Part = Literal["train", "test"]

MANIFEST_FILE = "manifest.json"


class Clip(ClipInfo):
    """One clip that a list names, and what decoding it from end to end has shown.

    Attributes:
        id: path below the root without its extension, such as ``YoYo/v_YoYo_g01_c01``.
        path: path below the root.
        label: index of its class in the class list, from 0.
        group: number after ``_g`` in its name, or None.
        sha256: of the file's bytes.
        size: bytes of the file.
        decoder: name and version of what decoded it.
    """

    id: str
    path: str
    label: int
    group: int | None
    sha256: str
    size: int = 0
    decoder: str = DECODER


class SplitIds(BaseModel):
    """Clip ids of one split, in the order of its lists."""

    model_config = ConfigDict(frozen=True)

    train: tuple[str, ...]
    test: tuple[str, ...]


class Manifest(BaseModel):
    """Every listed clip of a dataset, sorted by id, and its splits.

    Attributes:
        dataset: its name.
        root: absolute folder of the clips.
        classes: names by label.
        clips: all clips that some list names, sorted by id.
        splits: ids by split number.
        surplus: paths below the root that no list names.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    root: Path
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    splits: dict[int, SplitIds]
    surplus: tuple[str, ...] = ()

    @cached_property
    def by_id(self) -> dict[str, Clip]:
        """Clips by id."""
        return {clip.id: clip for clip in self.clips}

    def clips_of(self, split: int, part: Part) -> tuple[Clip, ...]:
        """Return the clips of one part of a split, in the order of its list.

        Raises:
            KeyError: the dataset has no such split.
        """
        return tuple(self.by_id[clip_id] for clip_id in getattr(self.splits[split], part))


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in the output folder of an `index` stage."""
    return Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
