"""The predictions behind results as arrays: what each system said of each clip, by split and seed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from services.datasets.official import categories_of
from services.datasets.sources import source_of
from services.db.tables import PredictionRow, ResultRow, TruthRow

MOST = np.iinfo(np.uint16).max
KEPT = 32
"""Test sets, and what a bootstrap draws of them, that a process keeps: UCF101's have some 0.5 MB each."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TestSet:
    """The N clips that a split tests on, with their labels.

    Attributes:
        digest: equal ones may be compared clip by clip.
        classes: K names by label.
        labels: (N,).
        clips: SHA-256 of the ids.
        ids: of the clips, in their order; None where no stage has said them.
    """

    __test__ = False  # no test of pytest's

    digest: str
    classes: tuple[str, ...]
    labels: Ints
    clips: str
    ids: tuple[str, ...] | None

    @cached_property
    def counts(self) -> Ints:
        """How many clips each class has, (K,)."""
        return np.bincount(self.labels, minlength=len(self.classes))

    @cached_property
    def categories(self) -> tuple[str, ...] | None:
        """The coarse category of each class, where classes have any."""
        return categories_of(self.classes)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a system trained with one seed said of the clips of a split.

    Attributes:
        predicted: labels, (N,).
        ranks: how many classes stand before the right one, (N,).
        confidences: the probability of each predicted label, (N,); None where the stage is older than they are.
    """

    split: int
    seed: int
    test: TestSet
    predicted: Ints
    ranks: Ints
    confidences: Floats | None

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each clip is, (N,)."""
        found: NDArray[np.bool_] = self.ranks == 0
        return found


@dataclass(frozen=True)
class Units:
    """What a bootstrap draws: sources of clips where they are known, else single clips.

    Attributes:
        of: the unit of each clip of a split, from 0, by split; a clip of several splits has one unit.
        count: how many there are.
        kind: ``groups`` where some clip's source is known.
    """

    of: Mapping[int, Ints]
    count: int
    kind: Literal["groups", "clips"]


class Stream(NamedTuple):
    """A stream of an experiment: its answers by split and seed; None where predictions were not kept."""

    rows: tuple[ResultRow, ...]
    answers: Mapping[tuple[int, int], Answers | None]

    @property
    def seeds(self) -> list[int]:
        """Of all of its rows."""
        return sorted({seed for _, seed in self.answers})

    @property
    def splits(self) -> list[int]:
        """Likewise."""
        return sorted({split for split, _ in self.answers})


def of_streams(session: Session, asked: Iterable[tuple[str, str]]) -> list[Stream]:
    """Return the results, and the answers of all splits and seeds, of streams by experiment and stream, as asked.

    However many there are, they are read by one query, and their test sets by another.
    """
    asked = list(asked)
    query = (
        select(ResultRow, PredictionRow)
        .outerjoin(PredictionRow, PredictionRow.digest == ResultRow.prediction)
        .where(tuple_(ResultRow.experiment_id, ResultRow.stream).in_(asked))
        .order_by(ResultRow.split, ResultRow.seed)
    )
    of: dict[tuple[str, str], list[tuple[ResultRow, PredictionRow | None]]] = {place: [] for place in asked}
    for row, said in session.execute(query) if asked else ():
        of[row.experiment_id, row.stream].append((row, said))
    tests = _read_tests(session, {said.truth for rows in of.values() for _, said in rows if said is not None})
    return [_stream(of[place], tests) for place in asked]


def _stream(rows: Sequence[tuple[ResultRow, PredictionRow | None]], tests: Mapping[str, TestSet]) -> Stream:
    answers = {
        (row.split, row.seed): None if said is None else _answers(row.split, row.seed, tests[said.truth], said)
        for row, said in rows
        if row.split is not None and row.seed is not None
    }
    return Stream(tuple(row for row, _ in rows), answers)


def _read_tests(session: Session, digests: Collection[str]) -> dict[str, TestSet]:
    found = session.scalars(select(TruthRow).where(TruthRow.digest.in_(digests))) if digests else ()
    return {row.digest: _test_set(row.digest, tuple(row.classes), row.labels, row.clips, row.ids) for row in found}


@lru_cache(maxsize=KEPT)
def _test_set(digest: str, classes: tuple[str, ...], labels: bytes, clips: str, ids: str | None) -> TestSet:
    """Return a test set as it is stored; equal ones are one object, of which what is derived is derived once."""
    return TestSet(digest, classes, _numbers(labels), clips, None if ids is None else tuple(ids.split("\n")))


def _answers(split: int, seed: int, test: TestSet, said: PredictionRow) -> Answers:
    numbers = _numbers(said.answers)
    sure = None if said.confidences is None else _numbers(said.confidences) / MOST
    return Answers(split, seed, test, numbers[::2], numbers[1::2], sure)


def _numbers(packed: bytes) -> Ints:
    """Return numbers of 16 bits, the lower byte first."""
    return np.frombuffer(packed, "<u2").astype(np.int64)


def units_of(tests: Mapping[int, TestSet]) -> Units | None:
    """Return what a bootstrap of these splits draws; None where it is not known which clips several splits share."""
    return _units_of(tuple(tests.items()))


@lru_cache(maxsize=KEPT)
def _units_of(split_tests: tuple[tuple[int, TestSet], ...]) -> Units | None:
    """Do so; to read thousands of names takes longer than to compare two systems."""
    tests = dict(split_tests)
    if any(test.ids is None for test in tests.values()):
        if len(tests) > 1:
            return None
        ((split, test),) = tests.items()
        return Units({split: np.arange(len(test.labels))}, len(test.labels), "clips")
    return _drawn(tuple((split, test.ids or ()) for split, test in tests.items()))


def _drawn(ids: tuple[tuple[int, tuple[str, ...]], ...]) -> Units:
    """Return what is drawn of clips by split; their names say it, which takes longer to read than to draw."""
    clips = [clip for _, own in ids for clip in own]
    sources = [source_of(clip) for clip in clips]
    kind: Literal["groups", "clips"] = "groups" if any(source is not None for source in sources) else "clips"
    # A source and a clip may have one name.
    names = [
        ("clip", clip) if source is None else ("source", source) for clip, source in zip(clips, sources, strict=True)
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of = iter(names)
    found = {split: np.fromiter((numbers[next(of)] for _ in own), np.int64, len(own)) for split, own in ids}
    return Units(found, len(numbers), kind)


def first_places(tests: Mapping[int, TestSet]) -> Mapping[int, NDArray[np.bool_]] | None:
    """Say of each clip of each split whether no earlier split has it; None where that is not known."""
    if len(tests) == 1:
        return {split: np.ones(len(test.labels), np.bool_) for split, test in tests.items()}
    if any(test.ids is None for test in tests.values()):
        return None
    seen: set[str] = set()
    found = {}
    for split, test in tests.items():
        found[split] = np.array([clip not in seen for clip in test.ids or ()], np.bool_)
        seen.update(test.ids or ())
    return found
