"""A result in full, by hand on a few clips."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.board import compare, evaluation, several
from services.board.evaluation import NO_ANSWERS, NO_CONFIDENCES, NO_IDS, NO_UNITS, Evaluation
from services.board.parts import ONE_UNIT
from services.db.engine import Database
from services.db.tables import ResultRow
from services.errors import NotFound
from tests import said
from tests.services.conftest import result

CLASSES = ("Hop", "Run", "Sit")
LABELS = [0, 0, 0, 1, 1, 1, 1, 2]
IDS = [f"{CLASSES[label]}/v_g{place // 2:02d}_c{place:02d}" for place, label in enumerate(LABELS)]
"""Six scenes: four of them have two clips each, two of which fall to two classes."""


def of(database: Database, experiment: str, split: int | None = 1, seed: int | None = 0, **options: Any) -> Evaluation:
    with database.transaction() as session:
        query = select(ResultRow.id).where(ResultRow.experiment_id == experiment)
        rows = session.execute(
            query.where(ResultRow.split.is_not_distinct_from(split), ResultRow.seed.is_not_distinct_from(seed))
        )
        return evaluation.of_result(session, rows.scalar_one(), **options)


def whole(split: int, seed: int) -> dict[str, Any]:
    ranks = [0, 0, 2, 0, 1, 0, 0, 0]
    sure = [0.9, 0.8, 0.7, 0.6, 1.0, 0.6, 0.6, 0.95]
    return said.summary(CLASSES, LABELS, ranks, confidences=sure, ids=IDS, split=split, seed=seed)


def test_a_result_in_full(database: Database) -> None:
    found = of(database, said.run(database, whole), hardest=3)
    assert [(each.name, each.clips, each.top1) for each in found.classes] == [
        ("Hop", 3, pytest.approx(2 / 3)), ("Run", 4, 0.75), ("Sit", 1, 1.0),
    ]  # fmt: skip
    assert found.confusion == ((2, 1, 0), (0, 3, 1), (0, 0, 1))
    assert [(each.clip, each.label, each.predicted, each.rank) for each in found.hardest[:2]] == [
        ("Hop/v_g01_c02", "Hop", "Run", 2.0), ("Run/v_g02_c04", "Run", "Sit", 1.0),
    ]  # fmt: skip
    assert (len(found.hardest), found.hardest[2].clip) == (3, "Sit/v_g03_c07")  # the surest of what is right
    assert (found.units, found.num_units, found.notes) == ("groups", 6, ())
    assert set(found.intervals) == {"top5", "mean_class"}
    assert found.intervals["top5"] == (1.0, 1.0)
    lower, upper = found.intervals["mean_class"]
    assert 0 < lower < found.result.values["mean_class"].value < upper <= 1


def test_calibration_by_hand(database: Database) -> None:
    """Bins are of 1/15: 0.6 thrice, all right; 0.7, wrong; 0.8; 0.9; and (14/15, 1] with 1.0 wrong and 0.95 right."""
    found = of(database, said.run(database, whole)).calibration
    assert found is not None
    gaps = [3 * (1 - 0.6), 0.7, 1 - 0.8, 1 - 0.9, abs(1.95 - 1)]
    assert found.error == pytest.approx(sum(gaps) / 8, abs=1e-4)
    squares = [3 * 0.4**2, 0.7**2, 0.2**2, 0.1**2, 1.0, 0.05**2]
    assert found.brier == pytest.approx(sum(squares) / 8, abs=1e-4)
    assert [(bin_.answers, bin_.top1) for bin_ in found.bins if bin_.answers] == [
        (3, 1),
        (1, 0),
        (1, 1),
        (1, 1),
        (2, 0.5),
    ]
    assert found.interval is not None
    assert found.interval[0] < found.error < found.interval[1] + 0.2


def test_a_mean_is_over_splits_of_that_over_seeds(database: Database) -> None:
    """Split 2 has every clip right; seeds of split 1 have one and two of four clips wrong."""
    ranks = {
        (1, 0): [0, 0, 1, 0],
        (1, 1): [0, 0, 1, 1],
        (2, 0): [0] * 4,
        (2, 1): [0] * 4,
        (3, 0): [0] * 4,
        (3, 1): [0] * 4,
    }

    def few(split: int, seed: int) -> dict[str, Any]:
        ids = [f"{split}/{place}" for place in range(4)]
        return said.summary(CLASSES[:2], [0, 0, 1, 1], ranks[split, seed], ids=ids, split=split, seed=seed)

    made = said.run(database, few, splits=(1, 2, 3), seeds=(0, 1))
    mean = of(database, made, None, None)
    assert [each.top1 for each in mean.classes] == [1.0, pytest.approx((0.25 + 1 + 1) / 3)]
    assert mean.confusion == ((12, 0), (3, 9))
    assert (mean.units, mean.num_units, mean.notes) == ("clips", 12, (NO_CONFIDENCES,))
    assert (mean.calibration, mean.hardest[0].clip, mean.hardest[0].rank) == (None, "1/2", 1.0)
    single = of(database, made, 1, None)
    assert [each.top1 for each in single.classes] == [1.0, 0.25]
    assert single.hardest[1].rank == 0.5


def test_the_same_question_has_the_same_answer(database: Database) -> None:
    made = said.run(database, whole)
    one, other = (of(database, made) for _ in range(2))
    assert (one.intervals, one.calibration) == (other.intervals, other.calibration)


def test_what_earlier_versions_kept_is_told_and_the_rest_is_named(database: Database) -> None:
    def older(split: int, seed: int) -> dict[str, Any]:
        return said.summary(CLASSES, LABELS, [0] * 8, split=split, seed=seed)

    made = said.run(database, older, splits=(1, 2, 3))
    found = of(database, made)
    assert (found.notes, found.calibration, found.hardest[0].clip) == ((NO_CONFIDENCES, NO_IDS), None, None)
    assert found.units == "clips"
    mean = of(database, made, None, None)
    assert (mean.intervals, mean.notes) == ({}, (NO_CONFIDENCES, NO_IDS, NO_UNITS))
    assert mean.classes[1].top1 == 1.0


def test_a_result_without_answers_says_so(database: Database) -> None:
    made = said.run(database, lambda split, seed: {"results": [result("rgb", split, seed)]})
    found = of(database, made)
    assert (found.classes, found.confusion, found.notes) == ((), (), (NO_ANSWERS,))
    assert of(database, made, None, None).notes == ("no mean: split 2, 3 is missing",)


def test_an_unknown_result_is_named(database: Database) -> None:
    with database.transaction() as session, pytest.raises(NotFound, match="no result named 7"):
        evaluation.of_result(session, 7)


def test_clips_of_one_group_alone_have_no_bootstrap_intervals(database: Database) -> None:
    """Each draw would be all of them: an interval without width would say that nothing is left to chance."""

    def one_scene(split: int, seed: int) -> dict[str, Any]:
        clips = [f"Hop/v_Hop_g01_c{place:02d}" for place in range(4)]
        return said.summary(CLASSES, [0] * 4, [0, 1, 0, 2], confidences=[0.5] * 4, ids=clips, split=split, seed=seed)

    one, other = (said.run(database, one_scene, **head) for head in said.heads(8, 16))
    found = of(database, one)
    assert (found.intervals, found.units, found.num_units, found.notes) == ({}, "groups", 1, (ONE_UNIT,))
    assert found.calibration is not None
    assert found.calibration.interval is None
    with database.transaction() as session:
        pair = compare.compare(session, one, other, split=1, stream="rgb")
        all_pairs = several.several(session, [one, other], split=1, stream="rgb")
    assert (pair.interval, pair.notes) == (None, (ONE_UNIT,))
    assert (all_pairs.pairs[0].interval, all_pairs.notes) == (None, (ONE_UNIT,))
