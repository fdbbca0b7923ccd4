"""The predictions behind results as arrays: what each system said of each clip, by split and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.datasets.official import categories_of
from services.datasets.sources import source_of
from services.db.tables import PredictionRow, ResultRow, TruthRow

MOST = np.iinfo(np.uint16).max

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
    """Return the results, and the answers of all splits and seeds, of streams by experiment and stream; each test set
    is read once."""
    found = []
    tests: dict[str, TestSet] = {}
    for experiment_id, stream in asked:
        query = (
            select(ResultRow, PredictionRow)
            .outerjoin(PredictionRow, PredictionRow.digest == ResultRow.prediction)
            .where(ResultRow.experiment_id == experiment_id, ResultRow.stream == stream)
            .order_by(ResultRow.split, ResultRow.seed)
        )
        rows = list(session.execute(query))
        _read_tests(session, tests, {said.truth for _, said in rows if said is not None})
        answers = {
            (row.split, row.seed): None if said is None else _answers(row.split, row.seed, tests[said.truth], said)
            for row, said in rows
            if row.split is not None and row.seed is not None
        }
        found.append(Stream(tuple(row for row, _ in rows), answers))
    return found


def _read_tests(session: Session, known: dict[str, TestSet], digests: set[str]) -> None:
    for row in session.scalars(select(TruthRow).where(TruthRow.digest.in_(digests - known.keys()))):
        ids = None if row.ids is None else tuple(row.ids.split("\n"))
        known[row.digest] = TestSet(row.digest, tuple(row.classes), _numbers(row.labels), row.clips, ids)


def _answers(split: int, seed: int, test: TestSet, said: PredictionRow) -> Answers:
    numbers = _numbers(said.answers)
    sure = None if said.confidences is None else _numbers(said.confidences) / MOST
    return Answers(split, seed, test, numbers[::2], numbers[1::2], sure)


def _numbers(packed: bytes) -> Ints:
    """Return numbers of 16 bits, the lower byte first."""
    return np.frombuffer(packed, "<u2").astype(np.int64)


def units_of(tests: Mapping[int, TestSet]) -> Units | None:
    """Return what a bootstrap of these splits draws; None where it is not known which clips several splits share."""
    if any(test.ids is None for test in tests.values()):
        if len(tests) > 1:
            return None
        ((split, test),) = tests.items()
        return Units({split: np.arange(len(test.labels))}, len(test.labels), "clips")
    ids = [clip for test in tests.values() for clip in test.ids or ()]
    sources = [source_of(clip) for clip in ids]
    kind: Literal["groups", "clips"] = "groups" if any(source is not None for source in sources) else "clips"
    # A source and a clip may have one name.
    named = [
        ("clip ", clip) if source is None else ("source ", source) for clip, source in zip(ids, sources, strict=True)
    ]
    of, count = _numbered(tests, [f"{what}{name}" for what, name in named])
    return Units(of, count, kind)


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


def _numbered(tests: Mapping[int, TestSet], names: Sequence[str]) -> tuple[dict[int, Ints], int]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    of = iter(names)
    found = {
        split: np.fromiter((numbers[next(of)] for _ in test.labels), np.int64, len(test.labels))
        for split, test in tests.items()
    }
    return found, len(numbers)
