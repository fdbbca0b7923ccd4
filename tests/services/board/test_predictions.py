"""What was said of each clip is kept beside the numbers, and read back with what was right."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, text

from services.board import leaderboard, results
from services.board.answers import Answers, of_streams
from services.db.engine import Database
from services.db.tables import DatasetRevisionRow, PredictionRow, StageRow, TruthRow
from services.queue.claim import Claim
from services.statistics.intervals import SplitRate, effective_clips, wilson
from tests.services.conftest import Decreed, result, small_spec, submit

CLASSES = [f"Class{number}" for number in range(300)]
LABELS = [299, 7, 7, 0]
RANKS = {1: [0, 0, 6, 299], 2: [2, 0, 0, 299]}
"""By split."""


def packed(numbers: object) -> str:
    return base64.b64encode(np.array(numbers, "<u2").tobytes()).decode()


def summary(split: int, seed: int, ranks: Sequence[int], labels: Sequence[int] = LABELS) -> dict[str, Any]:
    """What `fuse` says of clips of which those that are wrong are all taken for class 1."""
    predicted = [label if rank == 0 else 1 for label, rank in zip(labels, ranks, strict=True)]
    within = {name: float(np.mean([rank < most for rank in ranks])) for name, most in (("top1", 1), ("top5", 5))}
    entry = result("rgb", split, seed, within["top1"], clips=len(ranks))
    entry["metrics"] |= within
    answers = packed(np.stack([predicted, ranks], axis=1))
    truth = {"classes": CLASSES, "labels": packed(labels), "clips": "0" * 64}
    return {"results": [entry | {"predictions": answers}], "truth": truth}


def run(database: Database, said: Mapping[int, Mapping[str, Any]], **changes: Any) -> str:
    """Run an experiment whose `fuse` stages end with what is said of a split."""
    row = submit(database, small_spec(splits=tuple(said), **changes)).row
    finish(database, said)
    return row.id


def finish(database: Database, said: Mapping[int, Mapping[str, Any]]) -> None:
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        worker.succeed(claim, **(said[claim.params["split"]] if claim.kind == "fuse" else {}))

    worker.run_all(end)


def of_experiment(database: Database, experiment_id: str) -> dict[tuple[int, int], Answers | None]:
    with database.transaction() as session:
        [stream] = of_streams(session, [(experiment_id, "rgb")])
        return dict(stream.answers)


def test_they_come_back_with_the_right_answers(database: Database) -> None:
    made = run(database, {split: summary(split, 0, ranks) for split, ranks in RANKS.items()})
    found = of_experiment(database, made)
    assert list(found) == [(1, 0), (2, 0)]
    first, second = found[1, 0], found[2, 0]
    assert first is not None
    assert second is not None
    assert (first.test.labels.tolist(), first.test.classes) == (list(LABELS), tuple(CLASSES))
    assert (first.predicted.tolist(), first.ranks.tolist()) == ([299, 7, 1, 1], list(RANKS[1]))
    assert second.ranks.tolist() == list(RANKS[2])
    assert first.test.digest == second.test.digest


def test_results_of_earlier_stages_have_none(database: Database) -> None:
    made = run(database, {1: {"results": [result("rgb", 1, 0)]}})
    assert of_experiment(database, made) == {(1, 0): None}


def test_equal_answers_are_kept_once_and_a_stage_says_their_digests(database: Database) -> None:
    run(database, {split: summary(split, 0, RANKS[1]) for split in (1, 2)})
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(PredictionRow)) == 1
        truth = session.scalars(select(TruthRow.digest)).one()
        stage = session.scalars(select(StageRow).where(StageRow.kind == "fuse").limit(1)).one()
        said = stage.summary or {}
        assert said["truth"] == truth
        assert len(said["results"][0]["predictions"]) == 64


def test_other_labels_or_classes_are_another_truth(database: Database) -> None:
    said = {1: summary(1, 0, RANKS[1]), 2: summary(2, 0, RANKS[1], labels=[299, 7, 7, 1])}
    one, other = of_experiment(database, run(database, said)).values()
    assert one is not None
    assert other is not None
    assert one.test.digest != other.test.digest


def test_a_stage_that_is_made_again_changes_no_earlier_result(database: Database) -> None:
    before = run(database, {1: summary(1, 0, RANKS[1])})
    with database.transaction() as session:
        session.execute(text("UPDATE stage SET state = 'evicted', output = NULL"))
    after = run(database, {1: summary(1, 0, RANKS[2])})
    ranks = {name: tuple(entry.ranks) for name in (before, after) if (entry := of_experiment(database, name)[1, 0])}
    assert ranks == {before: tuple(RANKS[1]), after: tuple(RANKS[2])}


@pytest.mark.parametrize(("metric", "within"), [("top1", 1), ("top5", 5)])
def test_intervals_of_test_sets_that_overlap_rest_on_ranks(database: Database, metric: str, within: int) -> None:
    with database.transaction() as session:
        row = session.get_one(DatasetRevisionRow, ("motion_shapes", 1))
        row.shared, row.splits = [{"1": 0, "2": 1}, {"1": 2, "2": 0}], [1, 2]
    made = run(database, {split: summary(split, 0, ranks) for split, ranks in RANKS.items()})
    with database.transaction() as session:
        (mean,) = [found for found in results.listing(session, made) if found.row.split is None]
    hits = {split: [float(rank < within) for rank in ranks] for split, ranks in RANKS.items()}
    sets = {split: SplitRate(float(np.mean(row)), 4, row) for split, row in hits.items()}
    value = mean.values[metric]
    clips = effective_clips(sets, [{1: 0, 2: 1}, {1: 2, 2: 0}])
    assert (value.lower, value.upper) == pytest.approx(wilson(value.value, clips))
    assert mean.row.clips == 6


def test_ids_are_added_to_a_test_set_of_earlier_stages(database: Database) -> None:
    before = run(database, {1: summary(1, 0, RANKS[1])})
    said = summary(1, 1, RANKS[2])
    said["truth"] = said["truth"] | {"ids": ["a", "b", "c", "d"]}
    said["results"][0] |= {"confidences": packed([65535, 0, 1, 2])}
    after = run(database, {1: said}, seeds=(1,))
    truths = {
        found.test.digest for name in (before, after) for found in of_experiment(database, name).values() if found
    }
    with database.transaction() as session:
        (row,) = session.scalars(select(TruthRow))
        assert ({row.digest}, row.ids) == (truths, "a\nb\nc\nd")
        sure = set(session.scalars(select(PredictionRow.confidences)))
        stage = session.scalars(
            select(StageRow).where(StageRow.kind == "fuse", StageRow.params["seed"].as_integer() == 1)
        )
        assert "confidences" not in (stage.one().summary or {})["results"][0]
    assert sure == {None, np.array([65535, 0, 1, 2], "<u2").tobytes()}


def test_a_board_groups_by_what_was_said_of_each_clip(database: Database) -> None:
    """On the mean over splits, of top-1 and of top-5: one entry is as good as the first, one is not in either split."""
    clips, good, bad = 60, [0] * 55 + [9] * 5, [0] * 10 + [9] * 10 + [0] * 15 + [3] * 25
    other = [0] * 54 + [9] * 6
    named = {}
    for seed, (name, ranks) in enumerate((("good", good), ("other", other), ("bad", bad))):
        said = {split: summary(split, seed, ranks, [7] * clips) for split in (1, 2, 3)}
        named[run(database, said, seeds=(seed,))] = name
    run(database, {split: {"results": [result("rgb", split, 9, 0.9)]} for split in (1, 2, 3)}, seeds=(9,))

    def groups(**options: Any) -> dict[str, int | None]:
        with database.transaction() as session:
            board = leaderboard.rank(session, dataset="motion_shapes", stream="rgb", **options)
        assert board.test == ("McNemar, exact, Holm" if options.get("metric") != "mean_class" else None)
        return {named.get(row.experiment_id, "unknown"): row.group for row in board.rows}

    assert groups() == {"good": 1, "other": 1, "unknown": None, "bad": 4}
    assert groups(split=1) == groups(limit=4) == groups()
    assert groups(metric="top5") == {"unknown": None, "good": 2, "other": 2, "bad": 2}
    assert set(groups(metric="mean_class").values()) == {None}
