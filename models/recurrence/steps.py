"""Maps of clips as the recurrences take them, step by step."""

from __future__ import annotations

from torch import Tensor

from models.parts.masking import lengths_of, without_padding


def steps_of(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return maps ``(N, T, C, H, W)`` as ``(T, N, H, W, C)``, with zeros where a clip is padded.

    Raises:
        ValueError: if the mask is no prefix mask.
    """
    x = features.permute(1, 0, 3, 4, 2)
    if mask is None:
        return x.contiguous()
    lengths_of(mask)
    return without_padding(x, mask.t()).contiguous()
