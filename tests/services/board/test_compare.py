"""Two systems side by side, by hand on a few clips, and against SciPy."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from services.board import answers, compare
from services.board.compare import NO_PAIRS, Comparison
from services.board.systems import differences
from services.datasets.official import CATEGORIES, CATEGORY_OF
from services.db.engine import Database
from services.db.tables import DatasetRow, ResultRow
from services.errors import Conflict, InvalidRequest, NotFound
from services.specs import TrainingSpec
from tests import said
from tests.services.conftest import result

CLASSES = ("Hop", "Run", "Sit")
LABELS = [0] * 4 + [1] * 4 + [2] * 2
IDS = [f"{CLASSES[label]}/v_g{place:02d}_c01" for place, label in enumerate(LABELS)]
LEFT = [0, 0, 1, 1, 0, 0, 0, 1, 0, 0]
RIGHT = [0, 0, 0, 0, 0, 0, 1, 1, 0, 1]
"""Right of hop 2 and 4, of run 3 and 2, of sit 2 and 1; 2 clips alone the right one's, 2 the left one's."""
ONE, OTHER = said.heads(8, 16)


def of(ranks: list[int], **more: Any) -> Any:
    return lambda split, seed: said.summary(CLASSES, LABELS, ranks, ids=IDS, split=split, seed=seed, **more)


def compared(database: Database, left: str, right: str, **options: Any) -> Comparison:
    with database.transaction() as session:
        return compare.compare(session, left, right, **({"split": 1, "stream": "rgb"} | options))


def test_names_of_clips_are_read_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(answers, "source_of", lambda clip, own=answers.source_of: asked.append(clip) or own(clip))
    clips = [f"{name}_more" for name in IDS]  # no other test has read them
    one, other = (
        said.run(database, lambda s, d, r=ranks: said.summary(CLASSES, LABELS, r, ids=clips, split=s, seed=d), **how)
        for ranks, how in ((LEFT, ONE), (RIGHT, OTHER))
    )
    first = compared(database, one, other)
    assert asked == clips
    again = compared(database, one, other)
    assert (asked, again.interval, again.num_units) == (clips, first.interval, first.num_units)


def test_two_systems_by_hand(database: Database) -> None:
    left = said.run(database, of(LEFT), **ONE)
    right = said.run(database, of(RIGHT), **OTHER, training=TrainingSpec(epochs=7), priority=3)
    found = compared(database, left, right)
    assert found.differs == {"model.hidden": ([8], [16]), "training.epochs": (TrainingSpec().epochs, 7)}
    assert (found.left.value, found.right.value, found.difference) == (0.7, 0.7, 0.0)
    assert (found.left.spread, found.left.values, found.seeds) == (None, {0: 0.7}, ())
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]
    assert (found.units, found.num_units) == ("groups", 10)
    assert [(each.name, each.clips, each.left, each.right, each.difference) for each in found.classes] == [
        ("Hop", 4, 0.5, 1.0, 0.5), ("Run", 4, 0.75, 0.5, -0.25), ("Sit", 2, 1.0, 0.5, -0.5),
    ]  # fmt: skip
    paired = found.paired
    assert paired is not None
    assert (paired.test.left_only, paired.test.right_only, paired.test.p) == (2, 2, 1.0)
    assert (paired.clips, paired.both_right, paired.oracle) == (10, 0.5, 0.9)
    assert paired.agreement == 0.6  # five right, and one wrong alike
    assert [(each.clip, each.label, each.left, each.right) for each in paired.right_only] == [
        (IDS[2], "Hop", "Run", "Hop"), (IDS[3], "Hop", "Run", "Hop"),
    ]  # fmt: skip
    assert [each.clip for each in paired.left_only] == [IDS[6], IDS[9]]
    cut = compared(database, left, right, clips=1).paired
    assert cut is not None
    assert ([each.clip for each in cut.left_only], cut.test.left_only) == ([IDS[6]], 2)


def test_of_two_ensembles_differs_what_their_members_differ_in() -> None:
    def ensemble(*weights: float) -> dict[str, Any]:
        return {"method": "logits", "members": [{"recipe": "tsn", "weight": weight} for weight in weights]}

    assert differences(ensemble(0.5, 0.5), ensemble(0.5, 0.25)) == {"members.1.weight": (0.5, 0.25)}
    assert differences(ensemble(0.5), ensemble(0.5, 0.25)) == {
        "members.1.recipe": (None, "tsn"), "members.1.weight": (None, 0.25),
    }  # fmt: skip


def test_a_system_beside_itself(database: Database) -> None:
    made = said.run(database, of(LEFT))
    found = compared(database, made, made)
    assert (found.differs, found.difference, found.interval) == ({}, 0.0, (0.0, 0.0))
    assert found.paired is not None
    assert (found.paired.test.p, found.paired.agreement) == (1.0, 1.0)


def test_the_test_of_many_clips_is_scipys_and_the_interval_covers_the_difference(database: Database) -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 900).tolist()
    hits = [(rng.random(900) < rate).astype(int) for rate in (0.3, 0.2)]
    ids = [f"own/{place:04d}" for place in range(900)]
    made = [
        said.run(
            database, lambda split, seed, wrong=wrong: said.summary(CLASSES, labels, wrong.tolist(), ids=ids), **head
        )
        for wrong, head in zip(hits, (ONE, OTHER), strict=True)
    ]
    found = compared(database, *made)
    only = [int(((hits[0] == 0) & (hits[1] == 1)).sum()), int(((hits[0] == 1) & (hits[1] == 0)).sum())]
    assert found.paired is not None
    test = found.paired.test
    assert [test.left_only, test.right_only] == only
    assert test.p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    deltas = hits[0] - hits[1]
    half = 1.96 * deltas.std() / np.sqrt(900)
    assert found.units == "clips"
    assert found.interval == pytest.approx((deltas.mean() - half, deltas.mean() + half), abs=0.004)


def test_seeds_against_seeds_and_the_deviation_of_three_by_hand(database: Database) -> None:
    ranks = {0: [0] * 9 + [1], 1: [0] * 8 + [1] * 2, 2: [0] * 7 + [1] * 3}
    several = said.run(database, lambda split, seed: of(ranks[seed])(split, seed), seeds=(0, 1, 2), **ONE)
    single = said.run(database, of([1] * 10), seeds=(1,), **OTHER)
    found = compared(database, several, single)
    assert found.left.values == pytest.approx({0: 0.9, 1: 0.8, 2: 0.7})
    assert found.left.value == pytest.approx(0.8)
    assert found.left.spread == pytest.approx(0.1)  # sqrt((0.01 + 0 + 0.01) / 2)
    assert [(pair.left_seed, pair.right_seed, pair.left_only, pair.right_only) for pair in found.seeds] == [
        (0, 1, 9, 0), (1, 1, 8, 0), (2, 1, 7, 0),
    ]  # fmt: skip
    assert found.seeds[2].p == pytest.approx(2 / 2**7)
    assert found.paired is not None
    assert found.paired.test == found.seeds[1]  # the seed that both have


def splits(offset: int) -> Any:
    """Two clips of each split are those of the next; split 3 has more right by ``offset``."""

    def answer(split: int, seed: int) -> dict[str, Any]:
        ids = [f"own/{2 * split + place}" for place in range(4)]
        ranks = [1] * (4 - split - offset) + [0] * (split + offset)
        return said.summary(CLASSES, [0, 0, 1, 1], ranks, ids=ids, split=split, seed=seed)

    return answer


def test_clips_that_splits_share_are_tested_once(database: Database) -> None:
    """Split s tests clips 2s to 2s + 3: 8 in all; the right one has one more of each split."""
    left = said.run(database, splits(0), splits=(1, 2, 3), **ONE)
    right = said.run(database, splits(1), splits=(1, 2, 3), **OTHER)
    found = compared(database, left, right, split=None)
    assert (found.left.value, found.right.value) == (0.5, 0.75)
    assert statistics.fmean(found.right.values.values()) == 0.75
    assert (found.units, found.num_units) == ("clips", 8)
    assert found.paired is not None
    assert (found.paired.clips, found.paired.test.left_only) == (8, 0)
    # the third clip of split 1 is one that split 2 has first, too; the second of splits 2 and 3 are of the split before
    assert found.paired.test.right_only == 1


def test_without_ids_splits_have_no_pairs(database: Database) -> None:
    def older(split: int, seed: int) -> dict[str, Any]:
        return said.summary(CLASSES, LABELS, LEFT, split=split, seed=seed)

    left, right = (said.run(database, older, splits=(1, 2, 3), **head) for head in (ONE, OTHER))
    found = compared(database, left, right, split=None)
    assert (found.paired, found.interval, found.units, found.notes) == (None, None, None, (NO_PAIRS,))
    single = compared(database, left, right)
    assert single.paired is not None
    assert single.paired.test.p == 1.0
    assert single.paired.left_only == ()


def test_categories_of_ucf101(database: Database) -> None:
    names = sorted({*CATEGORY_OF, *(f"Sport{number}" for number in range(50))})
    labels = [names.index(name) for name in ("Haircut", "YoYo", "Typing", "Sport7")]
    left = said.run(database, lambda split, seed: said.summary(names, labels, [0, 0, 1, 0]), **ONE)
    right = said.run(database, lambda split, seed: said.summary(names, labels, [0, 0, 0, 1]), **OTHER)
    found = compared(database, left, right)
    assert {each.name: (each.clips, each.left, each.right) for each in found.categories} == {
        "Human-Human Interaction": (1, 1.0, 1.0), "Human-Object Interaction": (2, 0.5, 1.0), "Sports": (1, 1.0, 0.0),
    }  # fmt: skip
    assert {each.category for each in found.classes} <= set(CATEGORIES)


def test_other_clips_are_refused_by_what_differs(database: Database) -> None:
    left = said.run(database, of(LEFT), **ONE)
    other = said.summary(CLASSES, LABELS[:-1], LEFT[:-1], ids=IDS[:-1])
    fewer = said.run(database, lambda split, seed: other, **OTHER)
    with pytest.raises(InvalidRequest, match=r"right: got .* the clips of split 1 differ \(10 and 9 clips\)"):
        compared(database, left, fewer)
    renamed = said.summary(("Hop", "Run", "Sat"), LABELS, LEFT, ids=IDS)
    classes = said.run(database, lambda split, seed: renamed, **said.heads(32)[0])
    with pytest.raises(InvalidRequest, match="the classes of split 1 differ"):
        compared(database, left, classes)
    relabelled = said.summary(CLASSES, LABELS[::-1], LEFT, ids=IDS)
    labels = said.run(database, lambda split, seed: relabelled, **said.heads(64)[0])
    with pytest.raises(InvalidRequest, match="the labels of split 1 differ"):
        compared(database, left, labels)


def test_other_datasets_revisions_streams_and_splits_are_refused(database: Database) -> None:
    left, right = said.run(database, of(LEFT), **ONE), said.run(database, of(RIGHT), **OTHER)
    with database.transaction() as session:
        session.add(DatasetRow(name="ucf101"))
    with pytest.raises(InvalidRequest, match=r"left: got .* an experiment on dataset ucf101; it is on motion_shapes"):
        compared(database, left, right, dataset="ucf101")
    with pytest.raises(InvalidRequest, match="stream: got 'flow', allowed: a stream that left has: rgb"):
        compared(database, left, right, stream="flow")
    with pytest.raises(InvalidRequest, match="split: got 2, allowed: a split that left has: 1, mean"):
        compared(database, left, right, split=2)
    with pytest.raises(InvalidRequest, match=r"split: got 'mean', .* its mean lacks 2, 3"):
        compared(database, left, right, split=None)
    with pytest.raises(NotFound, match="no experiment named 'exp_0'"):
        compared(database, left, "exp_0")
    with database.transaction() as session:
        session.add(DatasetRow(name="other"))
        session.execute(ResultRow.__table__.update().where(ResultRow.experiment_id == right).values(revision=2))
    with pytest.raises(InvalidRequest, match=r"revision 1 of dataset motion_shapes, as exp_.* is; it is on 2"):
        compared(database, left, right)


def test_what_was_not_kept_is_named(database: Database) -> None:
    kept = said.run(database, of(LEFT), **ONE)
    older = said.run(database, lambda split, seed: {"results": [result("rgb", split, seed)]}, **OTHER)
    with pytest.raises(
        Conflict, match="right: what was said of each clip was not kept of rgb, split 1, seed 0 of exp_"
    ):
        compared(database, kept, older)


def test_seeds_that_were_launched_apart_are_taken_together_where_that_is_asked_for(database: Database) -> None:
    ranks = {0: [0] * 9 + [1], 1: [0] * 8 + [1] * 2, 2: [0] * 7 + [1] * 3}
    first, later = (
        said.run(database, lambda split, seed: of(ranks[seed])(split, seed), seeds=seeds, **ONE)
        for seeds in ((0,), (1, 2))
    )
    other = said.run(database, of([1] * 10), **OTHER)
    assert compared(database, first, other).left.values == pytest.approx({0: 0.9})
    found = compared(database, first, other, pool=True)
    assert found.left.values == pytest.approx({0: 0.9, 1: 0.8, 2: 0.7})
    assert (found.left.value, found.left.spread) == (pytest.approx(0.8), pytest.approx(0.1))
    assert [each.row.experiment_id for each in found.left.system.pooled] == [later]
    assert found.right.system.pooled == ()
    assert found.notes == (f"{first} with the seeds of {later}, which differ from it in seeds alone",)
    with pytest.raises(InvalidRequest, match=f"pool: got True, allowed: false: {first} and {later} differ in seeds"):
        compared(database, first, later, pool=True)
