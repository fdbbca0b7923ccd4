"""S equal parts of a clip: consecutive steps of each, or one step from each.

T is rarely a multiple of S, and the papers round in two ways:

- Whole parts: each has floor(T / S) steps, and the remainder at the end of the clip belongs to none. So TS-LSTM's code
  cuts (``RNN/model.lua``), so tsn-pytorch draws in training (``_sample_indices``), and so VideoLSTM's code spaces the
  runs of its test.
- Exact parts: part s reaches from s T / S to (s + 1) T / S, and a point in it is rounded down to a step. So tsn-pytorch
  takes the middles in its test (``_get_test_indices``), so we read Relational LSTM, which does not say how it rounds,
  and so we space the steps of a Temporal-ConvNet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.masking import lengths_of, without_padding


def whole_parts(lengths: Tensor, segments: int) -> tuple[Tensor, Tensor]:
    """Return the first step of each of S parts of floor(T / S) steps, and how many steps they have.

    Args:
        lengths: T of each clip, ``(N,)`` int64.
        segments: S.

    Returns:
        First steps ``(N, S)`` and numbers of steps ``(N, 1)``, 0 of a clip that is shorter than S.
    """
    sizes = lengths[:, None] // segments
    return torch.arange(segments, device=lengths.device) * sizes, sizes


def exact_parts(lengths: Tensor, segments: int, share: Tensor | float) -> Tensor:
    """Return the step at a share of each of S parts of T / S steps: floor((s + share) T / S).

    Args:
        lengths: T of each clip, ``(N,)`` int64.
        segments: S.
        share: of a part, 0 for its first step, 1/2 for its middle one, below 1; one for all, or ``(N, S)`` float64.

    Returns:
        Steps ``(N, S)``, 0 to T - 1, never falling; a clip that is shorter than S repeats some.
    """
    # In float64: 3 + 0.99999997 is 4 in float32.
    parts = torch.arange(segments, device=lengths.device, dtype=torch.float64)
    return ((parts + share) * lengths[:, None] / segments).long().clamp(max=lengths[:, None] - 1)


def cut_segments(features: Tensor, segments: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Cut each clip into S whole parts and drop the remainder (TS-LSTM).

    Args:
        features: ``(N, T, D)``.
        segments: S.
        mask: ``(N, T)`` bool, valid steps first; None where all clips have T steps.

    Returns:
        Segments ``(N, S, M, D)``, M steps in the longest, with zeros where one is shorter, and their mask
        ``(N, S, M)``, None where ``mask`` is.

    Raises:
        ValueError: if a clip has fewer than S steps.
    """
    lengths = None if mask is None else lengths_of(mask)
    require_steps(features, segments, lengths)
    if lengths is None:
        steps = features.shape[1] // segments
        return features[:, : segments * steps].reshape(len(features), segments, steps, -1), None
    firsts, sizes = whole_parts(lengths, segments)
    step = torch.arange(int(sizes.max()), device=features.device)
    valid = (step < sizes[..., None]).expand(-1, segments, -1)
    index = (firsts[..., None] + step).clamp(max=features.shape[1] - 1)
    x = features[torch.arange(len(features), device=features.device)[:, None, None], index]
    return without_padding(x, valid), valid


def draw_from_segments(snippets: Tensor, segments: int, lengths: Tensor | None = None) -> Tensor:
    """Draw one of each of S whole parts of every clip (TSN): ``(N, S, ...)`` of ``(N, T, ...)``.

    Args:
        snippets: ``(N, T, ...)``.
        segments: S; clips of S snippets are taken as they are.
        lengths: T of each clip, ``(N,)`` int64; None where all have as many.

    Raises:
        ValueError: if a clip is shorter than S.
    """
    if lengths is None and snippets.shape[1] == segments:
        return snippets
    require_steps(snippets, segments, lengths)
    firsts, sizes = whole_parts(_lengths(snippets, lengths), segments)
    offset = (torch.rand(firsts.shape, device=snippets.device) * sizes).long().clamp(max=sizes - 1)
    return _taken(snippets, firsts + offset)


def step_of_segments(features: Tensor, segments: int, mask: Tensor | None = None, *, share: float | None) -> Tensor:
    """Take one step of each of S exact parts of every clip: ``(N, S, ...)`` of ``(N, T, ...)``.

    Args:
        features: ``(N, T, ...)``.
        segments: S; clips of S steps are taken as they are.
        mask: ``(N, T)`` bool, valid steps first; None where all clips have T steps.
        share: where in a part the step lies, from 0 and below 1; None draws it for each part.
    """
    lengths = None if mask is None else lengths_of(mask)
    if lengths is None and features.shape[1] == segments:
        return features
    drawn = (len(features), segments)
    where = torch.rand(drawn, device=features.device, dtype=torch.float64) if share is None else share
    return _taken(features, exact_parts(_lengths(features, lengths), segments, where))


def require_steps(features: Tensor, segments: int, lengths: Tensor | None) -> None:
    """Check that every clip has a step for each segment.

    Raises:
        ValueError: if one has not.
    """
    shortest = features.shape[1] if lengths is None else int(lengths.min())
    if shortest < segments:
        raise ValueError(f"features: got a clip of {shortest} steps, allowed: at least {segments}, one a segment")


def _lengths(features: Tensor, lengths: Tensor | None) -> Tensor:
    videos, steps = features.shape[:2]
    return torch.full((videos,), steps, device=features.device) if lengths is None else lengths


def _taken(features: Tensor, index: Tensor) -> Tensor:
    """Return the steps ``index (N, S)`` of ``features (N, T, ...)``."""
    return features[torch.arange(len(features), device=features.device)[:, None], index]
