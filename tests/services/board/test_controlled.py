"""Heads on the same features against one baseline."""

from __future__ import annotations

from typing import Any

import pytest

from services.board import controlled
from services.board.controlled import Controlled
from services.db.engine import Database
from services.errors import InvalidRequest
from services.specs import BackboneSpec, EvaluationSpec
from tests import said

CLASSES, CLIPS = ("Hop", "Run"), 40
IDS = [f"own/{place:02d}" for place in range(CLIPS)]


def right_of(count: int) -> Any:
    """Answers of which the first ones are right."""
    ranks, labels = [0] * count + [1] * (CLIPS - count), [place % 2 for place in range(CLIPS)]
    return lambda split, seed: said.summary(CLASSES, labels, ranks, ids=IDS, split=split, seed=seed)


def heads(database: Database, baseline: str, *others: str, **options: Any) -> Controlled:
    with database.transaction() as session:
        return controlled.controlled(session, baseline, others, **({"split": 1, "stream": "rgb"} | options))


def test_each_head_has_its_gain_over_the_baseline(database: Database) -> None:
    counts = (20, 30, 22, 15)
    made = [said.run(database, right_of(n), **head) for n, head in zip(counts, said.heads(8, 16, 32, 64), strict=True)]
    found = heads(database, *made)
    assert (found.baseline.value, found.features, found.units) == (0.5, 1, "clips")
    assert [gain.side.value for gain in found.gains] == [0.75, 0.55, 0.375]
    assert [gain.difference for gain in found.gains] == pytest.approx([0.25, 0.05, -0.125])
    assert [gain.differs for gain in found.gains] == [{"model.hidden": ([8], [width])} for width in (16, 32, 64)]
    tests = [gain.test for gain in found.gains]
    assert [(test.left_only, test.right_only) for test in tests if test] == [(0, 10), (0, 2), (5, 0)]
    p = (2 * 0.5**10, 1 / 2, 2 * 0.5**5)
    assert [gain.adjusted_p for gain in found.gains] == pytest.approx([3 * p[0], p[1], 2 * p[2]])
    best = found.gains[0].interval
    assert best is not None
    assert 0.1 < best[0] < 0.25 < best[1] < 0.45


def test_heads_on_other_features_are_refused_by_what_differs(database: Database) -> None:
    one, other = said.heads(8, 16)
    baseline = said.run(database, right_of(20), **one)
    resnet = said.run(database, right_of(30), **other | {"backbone": BackboneSpec(name="resnet18", finetune=None)})
    with pytest.raises(InvalidRequest, match=r"others: got .* on the features of exp_.*; it differs in backbone\.name"):
        heads(database, baseline, resnet)
    more = said.run(database, right_of(30), **said.heads(32)[0], evaluation=EvaluationSpec(frames=10))
    with pytest.raises(InvalidRequest, match=r"it differs in evaluation\.frames"):
        heads(database, baseline, more)
    seeds = said.run(database, right_of(30), **other, seeds=(1,))
    with pytest.raises(InvalidRequest, match=r"an experiment with a seed that exp_.* has: 0"):
        heads(database, baseline, seeds)


def test_networks_that_see_frames_have_no_features(database: Database) -> None:
    tuned = BackboneSpec(name="tiny")
    own = {"backbone": tuned, "model": {"kind": "convnet", "classifier": "finetuned"}}
    made = said.run(database, right_of(20), **own)
    with pytest.raises(InvalidRequest, match=r"baseline: got .* its own see frames"):
        heads(database, made, said.run(database, right_of(30), **said.heads(8)[0]))


def test_the_baseline_is_no_head_beside_itself(database: Database) -> None:
    made = [said.run(database, right_of(n), **head) for n, head in zip((20, 30), said.heads(8, 16), strict=True)]
    with pytest.raises(InvalidRequest, match=f"others: got '{made[0]}', allowed: ids of other experiments"):
        heads(database, made[0], made[1], made[0])
