"""What every network returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """The named result of a forward pass; what an architecture does not have is None.

    Attributes:
        logits: class scores before the softmax: ``(N, K)``, or ``(N, T, K)`` of a network that classifies every step,
            with zeros where a clip is padded.
        attention: share of each position in a step's input, ``(N, T, H, W)``, summing to 1 over positions; zeros
            where a clip is padded.
        writes: 1 where a step was written to memory, else 0, ``(N, T)``.
        write_probability: from which the decision to write is taken, 0 to 1, ``(N, T)``.
        embedding: the classifier's input for the video, ``(N, D)``.
    """

    logits: Tensor
    attention: Tensor | None = None
    writes: Tensor | None = None
    write_probability: Tensor | None = None
    embedding: Tensor | None = None
