"""The accuracy of a fusion over its weights, and how much of what the best weight gains is tuning on the test set.

A weight that is chosen on the clips that it is then measured on gains by chance too. So it is also chosen without a
group of clips, such as those of one scene, and measured on that group, for each group in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.datasets.sources import film_of
from services.datasets.ucf101 import group_of
from services.scores.files import ScoreFile
from services.scores.fusion import mixed, prepared
from services.specs import Rule

MAX_FOLDS = 25
"""Groups are put together where there are more; UCF101's test sets have 7."""


@dataclass(frozen=True)
class Point:
    """The share of the swept member, from 0 to 1, and the top-1 accuracy with it."""

    weight: float
    top1: float


@dataclass(frozen=True)
class Sweep:
    """What the weights of a fusion are worth on one test set.

    Attributes:
        curve: over the share of one member; the others share the rest by their own weights.
        declared: top-1 accuracy with the fusion's own weights.
        equal: with the same weight for all members.
        best_on_test: the best point of the curve: chosen on the clips that it is measured on.
        held_out: top-1 accuracy where each group is measured with the weight that is best on the other groups.
        held_out_weights: these weights, one a fold.
        groups: how many groups of clips there are.
    """

    curve: tuple[Point, ...]
    declared: float
    equal: float
    best_on_test: Point
    held_out: float
    held_out_weights: tuple[float, ...]
    groups: int

    @property
    def gain_on_test(self) -> float:
        """What the weight that was chosen on the test set gains over equal weights."""
        return self.best_on_test.top1 - self.equal

    @property
    def gain_held_out(self) -> float:
        """What weights that were chosen without the clips they are measured on gain over equal weights."""
        return self.held_out - self.equal

    @property
    def tuning(self) -> float:
        """The part of the gain that is tuning on the test set."""
        return self.gain_on_test - self.gain_held_out


def sweep(files: Sequence[ScoreFile], rule: Rule, weights: Sequence[float], member: int, steps: int = 21) -> Sweep:
    """Return the curve over the share of one member.

    Args:
        files: that hold the same clips in the same order, two or more.
        rule: of fusion.
        weights: the fusion's own, one a file.
        member: the index of the file whose share is swept.
        steps: points of the curve, from 0 to 1.

    Raises:
        UserError: logits are asked for where only probabilities are.
    """
    parts, truth = [prepared(file, rule) for file in files], files[0].truth
    own = np.array(weights, dtype=np.float64)
    shares = np.linspace(0.0, 1.0, steps)

    def hits(given: NDArray[np.float64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = mixed(parts, rule, given).argmax(axis=1) == truth
        return found

    right = np.stack([hits(_weights(own, member, share)) for share in shares])
    # Of weights that are as good, the one that is nearest to equal shares.
    order = np.argsort(np.abs(shares - 1 / len(files)), kind="stable")
    of, groups = folds(files[0].clips)
    chosen = np.array([order[right[order][:, of != fold].sum(axis=1).argmax()] for fold in range(of.max() + 1)])
    best = order[right[order].sum(axis=1).argmax()]
    rates = right.mean(axis=1)
    return Sweep(
        curve=tuple(Point(float(share), float(rate)) for share, rate in zip(shares, rates, strict=True)),
        declared=float(hits(own).mean()),
        equal=float(hits(np.ones(len(files))).mean()),
        best_on_test=Point(float(shares[best]), float(rates[best])),
        held_out=float(right[chosen[of], np.arange(len(truth))].mean()),
        held_out_weights=tuple(float(shares[index]) for index in chosen),
        groups=groups,
    )


def _weights(own: NDArray[np.float64], member: int, share: float) -> NDArray[np.float64]:
    """Return weights that sum to 1, one of which is given; the others keep their ratio; where all are 0, 1 : 1."""
    others = np.delete(own, member)
    rest = others / others.sum() if others.sum() else np.full(len(others), 1 / len(others))
    return np.insert((1 - share) * rest, member, share)


def folds(clips: Sequence[str], most: int = MAX_FOLDS) -> tuple[NDArray[np.int64], int]:
    """Return the fold of each clip, from 0, and how many groups there are; a group is never cut."""
    names = [_group(clip) for clip in clips]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] % most for name in names]), len(numbers)


def _group(clip: str) -> str:
    """Return the group of a clip by its name: UCF101's number, HMDB51's film, or else the clip by itself."""
    number = group_of(clip)
    return f"{number:09d}" if number is not None else film_of(clip) or clip
