"""How much of the motion lies beyond the bound, which is in pixels and so depends on the size of the frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.params import FlowMethodParams
from worker.video.flow.quantization import LEVELS

MUCH = 0.05
SAMPLED_FIELDS = 16
"""Fields of a clip that are looked at, equally spaced."""


def saturated(fields: NDArray[np.uint8]) -> float:
    """Return the share of pixels that move by the bound or more, in x or in y.

    Args:
        fields: uint8 (L, 2, H, W), of the linear map; `SAMPLED_FIELDS` of them are looked at.
    """
    some = fields[sampled(len(fields))]
    return float(((some == 0) | (some == LEVELS)).any(axis=1).mean())


def sampled(num_fields: int) -> NDArray[np.int64]:
    """Return the numbers of the fields that are looked at, of so many."""
    return np.unique(np.linspace(0, num_fields - 1, min(num_fields, SAMPLED_FIELDS)).round().astype(np.int64))


class Saturation:
    """The share of saturated pixels over many clips, each by its number of fields.

    Args:
        params: of the flow; scaled by the range of each field, it has no bound.

    Attributes:
        fields: of all clips so far.
    """

    def __init__(self, params: FlowMethodParams) -> None:
        self._params, self._sum, self.fields = params, 0.0, 0

    def add(self, share: float, fields: int) -> None:
        """Count a clip in."""
        self._sum += share * fields
        self.fields += fields

    @property
    def share(self) -> float | None:
        """Of all pixels so far; None where the flow has no bound, or there is none."""
        return self._sum / self.fields if self.fields and self._params.quantization == "linear" else None

    @property
    def warning(self) -> str:
        """What a user should read; empty where little is saturated."""
        if self.share is None or self.share <= MUCH:
            return ""
        bound = f"{self._params.bound:g}"
        return (
            f"flow.bound: {self.share:.0%} of the pixels move by {bound} pixels or more in a frame, and count as if "
            f"they moved by {bound}; hint: a larger flow.bound or a smaller flow.resize"
        )
