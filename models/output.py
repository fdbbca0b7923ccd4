"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """The named result of a forward pass; an architecture's own maps and weights join as further fields.

    Attributes:
        logits: class scores before the softmax, ``(N, K)``.
    """

    logits: Tensor
