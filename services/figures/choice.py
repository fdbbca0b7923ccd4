"""Which part of an experiment a figure shows, and the answers to its test clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.board.answers import Answers, of_streams
from services.db.tables import ExperimentRow, ResultRow
from services.errors import InvalidRequest, NotFound

Counts = NDArray[np.int64]
UNFUSED = "the classes that clips were given are known once its `fuse` stages have ended"


@dataclass(frozen=True)
class Choice:
    """What a figure is asked for; None takes both streams or the only one, all splits, and all seeds together.

    Of figures that are of one network, or of one clip, None takes the first one.
    """

    stream: str | None = None
    split: int | None = None
    seed: int | None = None
    baseline: str | None = None
    clip: str | None = None


@dataclass(frozen=True)
class Counted:
    """Clips by true and predicted class.

    Attributes:
        classes: K names by label.
        counts: K x K, true classes down and predicted ones across.
        words: what was chosen, such as ``two-stream, split 1``.
    """

    classes: tuple[str, ...]
    counts: Counts
    words: str

    @property
    def rates(self) -> NDArray[np.float64]:
        """The share of each class that is right, 0 to 1; not a number for a class without clips."""
        clips = self.counts.sum(1)
        rates: NDArray[np.float64] = np.full(len(clips), np.nan)
        np.divide(self.counts.diagonal(), clips, out=rates, where=clips > 0)
        return rates


def streams_of(session: Session, experiment_id: str) -> list[str]:
    """Return the streams whose answers are known clip by clip, both together first; a transaction reads them once."""
    read: dict[str, list[str]] = session.info.setdefault(__name__, {})
    if experiment_id not in read:
        mine = (ResultRow.experiment_id == experiment_id, ResultRow.prediction.is_not(None))
        found = session.scalars(select(ResultRow.stream).where(*mine).distinct())
        read[experiment_id] = sorted(found, key=lambda stream: (stream != "two-stream", stream))
    return read[experiment_id]


def counted(session: Session, experiment: ExperimentRow, choice: Choice, figure: str) -> Counted:
    """Return the answers that a choice asks for, added up over the splits and seeds that it leaves open.

    Raises:
        InvalidRequest: there is no such stream, split or seed.
        NotFound: nothing is known clip by clip.
    """
    streams = streams_of(session, experiment.id)
    if not streams:
        raise NotFound(f"figure of {experiment.id}", figure, UNFUSED)
    stream = choice.stream or streams[0]
    if stream not in streams:
        raise InvalidRequest("stream", stream, ", ".join(streams))
    [found] = of_streams(session, [(experiment.id, stream)])
    known = {place: said for place, said in found.answers.items() if said is not None}
    _require("split", choice.split, [split for split, _ in known])
    mine = {place: found for place, found in known.items() if choice.split in (None, place[0])}
    _require("seed", choice.seed, [seed for _, seed in mine])
    chosen = {place: found for place, found in mine.items() if choice.seed in (None, place[1])}
    first, *others = chosen.values()
    if any(other.test.classes != first.test.classes for other in others):
        raise InvalidRequest("split", choice.split, "one split: those of this experiment have different classes")
    return Counted(first.test.classes, _counts(list(chosen.values())), _worded(stream, list(chosen)))


def _require(name: str, wanted: int | None, there: Sequence[int]) -> None:
    if wanted is not None and wanted not in there:
        raise InvalidRequest(name, wanted, ", ".join(map(str, sorted(set(there)))))


def _counts(found: Sequence[Answers]) -> Counts:
    size = len(found[0].test.classes)
    total = np.zeros((size, size), np.int64)
    for each in found:
        np.add.at(total, (each.test.labels, each.predicted), 1)
    return total


def _worded(stream: str, places: Sequence[tuple[int, int]]) -> str:
    splits, seeds = ({place[0] for place in places}, {place[1] for place in places})
    words = [stream, _numbered("split", splits)]
    return ", ".join([*words, _numbered("seed", seeds)] if len(seeds) > 1 or seeds != {0} else words)


def _numbered(noun: str, numbers: set[int]) -> str:
    return f"{noun}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, sorted(numbers)))}"
