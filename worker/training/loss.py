"""Loss and answer of a classifier, for one row of logits a clip or one for each of its steps."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of ``logits (n, K)`` or ``(n, T, K)``, summed over clips and steps (VideoLSTM's code).

    Args:
        logits: before the softmax.
        labels: ``(n,)`` int64, the same at every step of a clip.
    """
    if logits.ndim == 3:
        labels = labels.repeat_interleave(logits.shape[1])
    return functional.cross_entropy(logits.flatten(0, -2), labels, reduction="sum")


def clip_probabilities(logits: Tensor) -> Tensor:
    """Return probabilities ``(n, K)``, the mean over steps where there are some (VideoLSTM, sec. 5.2)."""
    probabilities = logits.softmax(-1)
    return probabilities.mean(1) if logits.ndim == 3 else probabilities


def clip_logits(logits: Tensor) -> Tensor:
    """Return logits ``(n, K)``, the mean over steps where there are some (TS-LSTM's released script)."""
    return logits.mean(1) if logits.ndim == 3 else logits
