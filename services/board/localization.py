"""What `localize` stages measured of boxes, filed as the streams of experiments are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.board import network
from services.datasets import motion_shapes
from services.db.tables import StageRow
from services.metrics import Overlap, of_boxes

Place = tuple[str, int, int]
"""Stream, split and seed."""


@dataclass(frozen=True)
class Localized:
    """The boxes of a stream on a split with a seed.

    Attributes:
        values: by metric.
        boxes: hash of the true ones against which they were measured.
        threshold: of saliency, 0 to 255.
        smoothing: in frames.
        key: of the stage.
    """

    values: Mapping[str, float]
    boxes: str
    threshold: float
    smoothing: int
    key: str


def of_stages(stages: Sequence[StageRow]) -> dict[Place, Localized]:
    """Return what finished stages measured; nothing of one that knew no true boxes, or not which ones."""
    found = {}
    for stage in stages:
        params, summary = stage.params, stage.summary or {}
        values, boxes = overlaps(summary), _boxes(params, summary)
        if values and boxes is not None:
            place = network.filed(params), params["split"], params["seed"]
            found[place] = Localized(values, boxes, params["threshold"], params["smoothing"], stage.key)
    return found


def overlaps(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of a summary by metric; one that an earlier version did not measure is left out."""
    there = {name: _value(summary, metric.overlap) for name, metric in of_boxes().items() if metric.overlap is not None}
    return {name: value for name, value in there.items() if value is not None}


def _value(summary: Mapping[str, Any], overlap: Overlap) -> float | None:
    value = summary.get(overlap.measure, {}).get(overlap.iou)
    return value if isinstance(value, int | float) else None


def _boxes(params: Mapping[str, Any], summary: Mapping[str, Any]) -> str | None:
    """Return the hash of the true boxes: as the stage says it, or of before, as it was planned."""
    if isinstance(said := summary.get("boxes"), str):
        return said
    if params.get("generator") is not None:
        return motion_shapes.digest_of(params["generator"])
    planned = (params.get("boxes") or {}).get("digest")
    return planned if isinstance(planned, str) else None
