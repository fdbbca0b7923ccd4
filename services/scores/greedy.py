"""Greedy choice of an ensemble's members, and how much of its gain is choosing on the clips that it is measured on.

The next member is always the one with which the accuracy is highest (Caruana et al., Ensemble Selection from Libraries
of Models, 2004, sec. 2), here without replacement and with equal weights. A choice that is made on the clips that it is
then measured on gains by chance too. So members are also chosen without a fold of the groups of
clips, and measured on that fold, for each fold in turn.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.scores.files import ScoreFile
from services.scores.fusion import prepared
from services.scores.sweep import folds
from services.specs import Rule

FOLDS = 5
"""Of groups of clips; each costs as much as the choice on all clips."""

ROOM = 5
"""Powers of two by which all scores are smaller, so that 32 of the largest there are still add up."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """The accuracy of the greedy ensemble of so many members.

    Attributes:
        members: how many there are.
        added: index of the one that came last, chosen on all clips.
        on_test: top-1 accuracy on the clips on which the members were chosen.
        held_out: where each fold is measured with members that were chosen on the other folds.
    """

    members: int
    added: int
    on_test: float
    held_out: float


@dataclass(frozen=True)
class Suggestion:
    """A greedy ensemble.

    Attributes:
        curve: by number of members, from one.
        size: how many members are suggested: the fewest with the highest accuracy of held-out folds.
        members: indices of the suggested members, in the order in which they were added.
        alone: top-1 accuracy of each candidate.
        groups: how many groups of clips there are, in ``folds`` folds.
        complete: whether the time allowed for all sizes that were asked for.
    """

    curve: tuple[Size, ...]
    size: int
    members: tuple[int, ...]
    alone: tuple[float, ...]
    groups: int
    folds: int
    complete: bool

    @property
    def gain_on_test(self) -> float:
        """What the suggested members gain over the best one, on the clips on which both were chosen."""
        return self.curve[self.size - 1].on_test - self.curve[0].on_test

    @property
    def gain_held_out(self) -> float:
        """What members that were chosen on other folds gain over the best one that was chosen so."""
        return self.curve[self.size - 1].held_out - self.curve[0].held_out

    @property
    def tuning(self) -> float:
        """The part of the gain that is choosing on the test clips."""
        return self.gain_on_test - self.gain_held_out


@dataclass
class _Path:
    """A greedy ensemble that grows, chosen on some of the clips: sums of scores of all clips, and who is in it."""

    parts: Sequence[Numbers]
    truth: NDArray[np.int64]
    chosen_on: NDArray[np.bool_]
    members: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._total = np.zeros_like(self.parts[0])

    def grow(self) -> NDArray[np.bool_]:
        """Add the best member, the first of those as good, and return which clips are right with it."""
        right = {at: self._right(at) for at in range(len(self.parts)) if at not in self.members}
        best = max(right, key=lambda at: (right[at][self.chosen_on].sum(), -at))
        self.members.append(best)
        self._total += self.parts[best]
        return right[best]

    def _right(self, at: int) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (self._total + self.parts[at]).argmax(axis=1) == self.truth
        return found


def greedy(files: Sequence[ScoreFile], rule: Rule, most: int, seconds: float) -> Suggestion:
    """Return the greedy ensemble of some systems, and its accuracy by the number of members.

    Args:
        files: of the candidates, with the same clips in the same order, one or more.
        rule: of fusion; members have equal weights.
        most: members at the most.
        seconds: after so many no further member is looked for.

    Raises:
        UserError: logits are asked for where only probabilities are.
    """
    until = time.monotonic() + seconds
    parts = [np.ldexp(prepared(file, rule), -ROOM) for file in files]
    truth, (of, groups) = files[0].truth, folds(files[0].clips, FOLDS)
    numbers = range(int(of.max(initial=-1)) + 1)
    whole = _Path(parts, truth, np.ones(len(truth), np.bool_))
    without = [_Path(parts, truth, of != number) for number in numbers]
    curve: list[Size] = []
    sizes = min(most, len(files))
    while len(curve) < sizes and (not curve or time.monotonic() < until):
        on_test, held_out = whole.grow(), np.zeros(len(truth), np.bool_)
        for number, path in zip(numbers, without, strict=True):
            held_out[of == number] = path.grow()[of == number]
        curve.append(Size(len(curve) + 1, whole.members[-1], float(on_test.mean()), float(held_out.mean())))
    size = max(curve, key=lambda each: (each.held_out, -each.members)).members
    return Suggestion(
        curve=tuple(curve),
        size=size,
        members=tuple(whole.members[:size]),
        alone=tuple(float((part.argmax(axis=1) == truth).mean()) for part in parts),
        groups=groups,
        folds=len(numbers),
        complete=len(curve) == sizes,
    )
