"""Equal parts of a clip: consecutive steps of each (TS-LSTM), or one step drawn from each (TSN).

Both round down: a part has floor(length / S) steps, and the remainder at the end of the clip belongs to none.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.masking import lengths_of, without_padding


def cut_segments(features: Tensor, segments: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Cut each clip into S segments of floor(length / S) steps and drop the remainder.

    Args:
        features: ``(N, T, D)``.
        segments: S.
        mask: ``(N, T)`` bool prefix mask, or None where all clips have T steps.

    Returns:
        Segments ``(N, S, M, D)``, M steps in the longest, with zeros where one is shorter, and their mask
        ``(N, S, M)``, None where ``mask`` is.

    Raises:
        ValueError: if a clip has fewer than S steps.
    """
    if mask is None:
        lengths, shortest = None, features.shape[1]
    else:
        lengths = lengths_of(mask)
        shortest = int(lengths.min())
    if shortest < segments:
        raise ValueError(f"features: got a clip of {shortest} steps, allowed: at least {segments}, one a segment")
    if lengths is None:
        steps = shortest // segments
        return features[:, : segments * steps].reshape(len(features), segments, steps, -1), None
    sizes = (lengths // segments)[:, None, None]  # steps in a segment of each clip
    step = torch.arange(int(sizes.max()), device=features.device)
    segment = torch.arange(segments, device=features.device)[None, :, None]
    valid = (step < sizes).expand(-1, segments, -1)
    index = (segment * sizes + step).clamp(max=features.shape[1] - 1)
    x = features[torch.arange(len(features), device=features.device)[:, None, None], index]
    return without_padding(x, valid), valid


def draw_from_segments(snippets: Tensor, segments: int, lengths: Tensor | None = None) -> Tensor:
    """Draw one of each of S equal parts of every clip: ``(N, S, ...)`` of ``(N, T, ...)``, clips of ``lengths (N,)``.

    Raises:
        ValueError: if a clip is shorter than S.
    """
    videos, steps = snippets.shape[:2]
    if lengths is None and steps == segments:
        return snippets
    sizes = snippets.new_full((videos,), steps, dtype=torch.int64) if lengths is None else lengths
    shortest = steps if lengths is None else int(lengths.min())
    if shortest < segments:
        raise ValueError(f"snippets: got a clip of {shortest}, allowed: at least {segments}, one a segment")
    size = (sizes // segments)[:, None]
    offset = (torch.rand(videos, segments, device=snippets.device) * size).long().clamp(max=size - 1)
    index = torch.arange(segments, device=snippets.device) * size + offset
    return snippets[torch.arange(videos, device=snippets.device)[:, None], index]
