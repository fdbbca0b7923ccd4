"""Two to five systems: every pair as two by themselves, Holm over all pairs, classes in the order of their spread."""

from __future__ import annotations

import pytest

from services.board import several
from services.board.compare import NO_PAIRS, compare
from services.board.several import Several
from services.db.engine import Database
from services.errors import InvalidRequest, NotFound
from services.statistics.paired import holm
from tests import said

CLASSES = ("Hop", "Run", "Sit")
LABELS = [0] * 8 + [1] * 8 + [2] * 4
IDS = [f"{CLASSES[label]}/v_g{place:02d}_c01" for place, label in enumerate(LABELS)]
RANKS = (
    [0] * 20,
    [0] * 8 + [1] * 8 + [0] * 4,
    [1] * 7 + [0] * 13,
)
"""The second is never right of run, the third right of hop once."""


def made(database: Database, ids: list[str] | None = IDS) -> list[str]:
    return [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, ids=ids, split=split, seed=seed),
            **head,
        )
        for ranks, head in zip(RANKS, said.heads(8, 16, 32), strict=True)
    ]


def compared(database: Database, ids: list[str], **options: object) -> Several:
    with database.transaction() as session:
        return several.several(session, ids, **{"split": 1, "stream": "rgb"} | options)  # type: ignore[arg-type]


def test_every_pair_is_what_two_by_themselves_are(database: Database) -> None:
    ids = made(database)
    found = compared(database, [*ids, ids[0]])
    assert [side.system.experiment.id for side in found.sides] == ids
    assert found.differs == {"model.hidden": ([8], [16], [32])}
    assert [(pair.left, pair.right) for pair in found.pairs] == [(0, 1), (0, 2), (1, 2)]
    for pair in found.pairs:
        with database.transaction() as session:
            alone = compare(session, ids[pair.left], ids[pair.right], split=1, stream="rgb")
        assert alone.paired is not None
        assert (pair.difference, pair.interval, pair.test) == (alone.difference, alone.interval, alone.paired.test)
    own = [pair.test.p for pair in found.pairs if pair.test]
    assert own == pytest.approx([2 / 2**8, 2 / 2**7, 1.0])
    assert [pair.adjusted_p for pair in found.pairs] == holm(own).tolist() == pytest.approx([6 / 2**8, 4 / 2**7, 1.0])
    assert (found.units, found.num_units, found.notes) == ("groups", 20, ())


def test_classes_on_which_they_differ_most_come_first(database: Database) -> None:
    found = compared(database, made(database))
    assert [(each.name, each.clips, each.values) for each in found.classes] == [
        ("Run", 8, (1.0, 0.0, 1.0)),
        ("Hop", 8, (1.0, 1.0, 0.125)),
        ("Sit", 4, (1.0, 1.0, 1.0)),
    ]
    assert found.categories == ()


def test_without_ids_of_clips_one_split_has_tests_and_several_say_why_not(database: Database) -> None:
    ids = made(database, None)
    assert all(pair.test is not None for pair in compared(database, ids).pairs)
    spec = {"splits": (1, 2), "seeds": (4,)}
    both = [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, split=split, seed=seed),
            **spec | head,
        )
        for ranks, head in zip(RANKS, said.heads(8, 16, 32), strict=True)
    ]
    with pytest.raises(InvalidRequest, match="mean lacks 3"):
        compared(database, both, split=None)
    assert NO_PAIRS.startswith("no test")


def test_a_wrong_choice_names_what_is_allowed(database: Database) -> None:
    ids = made(database)
    for wrong in ([], ids[:1], [ids[0], ids[0]], [f"exp_{n}" for n in range(6)]):
        with pytest.raises(InvalidRequest, match=r"experiments: got .*, allowed: 2 to 5 different ids"):
            compared(database, wrong)
    with pytest.raises(NotFound, match="exp_0"):
        compared(database, [*ids, "exp_0"])
    with pytest.raises(InvalidRequest, match="a stream that experiments has: rgb"):
        compared(database, ids, stream="flow")
