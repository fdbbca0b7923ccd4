"""The rules by which the scores of several systems become one answer.

Over classes k and systems s of weight w_s:

    probabilities   sum_s w_s p_s(k) / sum_s w_s             after the softmax (MATDL)
    logits          sum_s w_s z_s(k) / sum_s w_s             before the softmax (Relational LSTM, TSN)
    product         softmax over k of sum_s w_s log p_s(k)   weights are exponents; all 1 is the product (VideoLSTM)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.errors import DataError, UserError
from services.scores.files import ScoreFile, ScoreKind, Scores
from services.specs import Rule, Stream

SMALLEST = np.finfo(np.float64).tiny  # a probability of 0 has no logarithm
LEAST = -1e290  # a log-probability that the largest exponents of all members keep finite


def fused_scores(files: Sequence[ScoreFile], rule: Rule, weights: Sequence[float]) -> Scores:
    """Return the fused scores ``(N, K)`` of files that hold the same clips in the same order.

    Args:
        files: see `aligned`.
        rule: see the module.
        weights: one a file, not negative.

    Raises:
        UserError: logits are asked for where only probabilities are, or all weights are 0.
    """
    found = np.array(weights, dtype=np.float64)
    if found.sum() <= 0:
        raise UserError(f"fusion: got weights {found.tolist()}, allowed: at least one above 0")
    return mixed([prepared(file, rule) for file in files], rule, found)


def prepared(file: ScoreFile, rule: Rule) -> Scores:
    """Return of a file what a rule adds up: probabilities, logits, or log-probabilities ``(N, K)``.

    Raises:
        UserError: logits are asked for where only probabilities are.
    """
    if rule == "logits":
        return _logits(file)
    logarithms = _log_probabilities(file)
    return logarithms if rule == "product" else np.exp(logarithms)


def mixed(parts: Sequence[Scores], rule: Rule, weights: Scores) -> Scores:
    """Return the answer ``(N, K)`` of what `prepared` returned, by weights whose sum is above 0."""
    shares = weights if rule == "product" else weights / weights.sum()
    total = np.zeros_like(parts[0])
    for share, part in zip(shares, parts, strict=True):
        total += share * part
    return np.exp(log_softmax(total)) if rule == "product" else total


def kind_of(rule: Rule) -> ScoreKind:
    """Return what the scores are that a rule makes."""
    return "logits" if rule == "logits" else "probabilities"


def confidences(file: ScoreFile) -> Scores:
    """Return the probability of the answer to each clip, the class with the highest score, ``(N,)``."""
    found: Scores = np.exp(
        np.minimum(_log_probabilities(file).max(axis=1), 0.0)
    )  # 1 at the most, however a row was rounded
    return found


def own_stream(file: ScoreFile) -> Stream:
    """Return the stream of a network among others; one that sees both stands for rgb (VideoLSTM)."""
    return "flow" if file.streams == ("flow",) else "rgb"


def aligned(inputs: Sequence[tuple[str, ScoreFile]]) -> list[ScoreFile]:
    """Return files with the rows of all in the first one's order of clips, which, like labels, must be the same.

    Args:
        inputs: each file with what messages call it.

    Raises:
        DataError: other clips, labels or classes.
    """
    (first_name, first), *others = inputs
    return [first, *(_as_first(first_name, first, name, other) for name, other in others)]


def _as_first(first_name: str, first: ScoreFile, name: str, other: ScoreFile) -> ScoreFile:
    if other.classes != first.classes:
        raise DataError(f"{name} and {first_name}: the classes differ")
    if other.clips != first.clips:
        rows = {clip: row for row, clip in enumerate(other.clips)}
        for clip in sorted(rows.keys() ^ set(first.clips)):
            raise DataError(f"{first_name if clip in rows else name}: no scores of clip {clip}")
        order = np.array([rows[clip] for clip in first.clips])
        other = replace(other, clips=first.clips, labels=other.labels[order], scores=other.scores[order])
    for row in np.flatnonzero(other.labels != first.labels):
        raise DataError(
            f"{name}: clip {first.clips[row]} has label {other.labels[row]}, {first_name} says {first.labels[row]}"
        )
    return other


def _logits(file: ScoreFile) -> Scores:
    if file.kind != "logits":
        raise UserError(
            f"fusion.method: got 'logits' for {'+'.join(file.streams)} scores that are probabilities, allowed:"
            " 'probabilities' or 'product'; hint: evaluation.average: logits keeps logits"
        )
    return file.values


def _log_probabilities(file: ScoreFile) -> Scores:
    if file.kind == "logits":
        return log_softmax(file.values)
    logarithms: Scores = np.log(np.maximum(file.values, SMALLEST))
    return logarithms


def log_softmax(logits: Scores) -> Scores:
    """Return log-probabilities ``(N, K)`` of logits ``(N, K)``, finite ones of any finite logits."""
    with np.errstate(over="ignore"):
        shifted = np.maximum(logits - logits.max(axis=1, keepdims=True), LEAST)
    normalised: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised
