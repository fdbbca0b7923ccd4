"""What `fuse` stages measured becomes rows by stream, split and seed, and their means."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sqlalchemy import select

from services.board import leaderboard, results
from services.board.means import Value
from services.board.protocol import Protocol
from services.board.results import Result
from services.db.engine import Database
from services.db.tables import DatasetRevisionRow, ExperimentRow, OutboxRow
from services.metrics import METRICS, Metric
from services.queue.claim import Claim
from services.specs import ExperimentSpec
from services.statistics.intervals import SplitRate, effective_clips, wilson
from tests.services.conftest import Decreed, result, small_spec, submit

RATES = {(1, 0): 0.5, (1, 1): 0.7, (2, 0): 0.8, (2, 1): 0.8, (3, 0): 0.9, (3, 1): 0.7}


def run(
    database: Database, splits: tuple[int, ...], categories: bool = True
) -> dict[tuple[int | None, int | None], Result]:
    """Run an experiment with two seeds and return its rows by split and seed."""
    made = submit(database, small_spec(splits=splits, seeds=(0, 1))).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind != "fuse":
            worker.succeed(claim)
            return
        split, seed = claim.params["split"], claim.params["seed"]
        entry = result("rgb", split, seed, RATES[split, seed])
        if categories:
            few = {"Sports": 1.0} if split == 1 else {}
            entry["per_category"] = {"Body-Motion Only": RATES[split, seed] / 2} | few
        worker.succeed(claim, results=[entry])

    worker.run_all(end)
    with database.transaction() as session:
        return {(found.row.split, found.row.seed): found for found in results.listing(session, made.id)}


def test_means_come_after_what_they_are_the_means_of(database: Database) -> None:
    rows = run(database, (1, 2, 3))
    assert [*rows] == [
        (1, 0), (1, 1), (1, None), (2, 0), (2, 1), (2, None), (3, 0), (3, 1), (3, None), (None, None),
    ]  # fmt: skip
    assert rows[1, 0].values["top1"].value == 0.5
    assert rows[1, None].values["top1"].value == pytest.approx(0.6)
    assert rows[None, None].values["top1"].value == pytest.approx((0.6 + 0.8 + 0.8) / 3)


def test_categories_are_averaged_as_the_others(database: Database) -> None:
    rows = run(database, (1, 2, 3))
    assert rows[1, 1].row.categories == {"Body-Motion Only": 0.35, "Sports": 1.0}
    assert rows[1, None].row.categories == pytest.approx({"Body-Motion Only": 0.3, "Sports": 1.0})
    assert rows[2, None].row.categories == pytest.approx({"Body-Motion Only": 0.4})
    assert rows[None, None].row.categories == pytest.approx({"Body-Motion Only": 2.2 / 6})  # split 1 alone has sports


def test_a_mean_that_lacks_a_split_has_none(database: Database) -> None:
    rows = run(database, (1, 3))
    assert (rows[None, None].row.categories, rows[None, None].row.missing_splits) == (None, [2])


def test_results_of_other_datasets_have_no_categories(database: Database) -> None:
    assert {str(found.row.categories) for found in run(database, (1, 2, 3), categories=False).values()} == {"{}"}


def collected(
    database: Database,
    made: Callable[[int, int], list[dict[str, Any]]],
    splits: tuple[int, ...],
    seeds: tuple[int, ...],
) -> dict[tuple[int | None, int | None], Result]:
    """Run an experiment whose `fuse` stages report what ``made`` says of a split and a seed."""
    row = submit(database, small_spec(splits=splits, seeds=seeds)).row
    worker = Decreed(database)
    worker.run_all(
        lambda claim: worker.succeed(
            claim, results=made(claim.params["split"], claim.params["seed"]) if claim.kind == "fuse" else []
        )
    )
    with database.transaction() as session:
        return {(found.row.split, found.row.seed): found for found in results.listing(session, row.id)}


def know(database: Database, shared: list[dict[str, int]] | None, splits: tuple[int, ...] = (1, 2)) -> None:
    """Say which clips the test sets have in common, and which splits there are."""
    with database.transaction() as session:
        row = session.get_one(DatasetRevisionRow, ("motion_shapes", 1))
        row.shared, row.splits = shared, list(splits)


SHARED = [{"1": place, "2": 9 - place} for place in range(5)]
"""Of ten clips in each of two test sets, five are in both."""
HITS = {1: [1, 1, 0, 1, 0, 1, 1, 1, 0, 1], 2: [1, 0, 1, 1, 1, 0, 1, 0, 1, 1]}


def of_hits(split: int, seed: int) -> list[dict[str, Any]]:
    entry = result("rgb", split, seed, sum(HITS[split]) / 10, clips=10)
    return [entry | {"hits": base64.b64encode(np.packbits(np.array(HITS[split], bool)).tobytes()).decode()}]


def test_a_clip_that_two_splits_test_on_is_one_clip(database: Database) -> None:
    know(database, SHARED)
    mean = collected(database, of_hits, (1, 2), (0,))[None, None]
    assert (mean.values["top1"].value, mean.row.clips) == (0.7, 15)
    places = [{int(split): place for split, place in found.items()} for found in SHARED]
    clips = effective_clips({split: SplitRate(0.7, 10, hits) for split, hits in HITS.items()}, places)
    assert clips < 15
    assert (mean.values["top1"].lower, mean.values["top1"].upper) == pytest.approx(wilson(0.7, clips))


def test_hits_that_nobody_reported_count_as_alike(database: Database) -> None:
    """As earlier `fuse` stages left them: the interval is then the widest that the overlap allows."""
    know(database, SHARED)
    mean = collected(database, lambda split, seed: [result("rgb", split, seed, 0.7, clips=10)], (1, 2), (0,))[
        None, None
    ]
    weights = np.array([2] * 5 + [1] * 10) / 20
    assert (mean.values["top1"].lower, mean.values["top1"].upper) == pytest.approx(wilson(0.7, 1 / (weights**2).sum()))


@pytest.mark.parametrize("shared", [None, [{"1": 3, "2": 10}]])
def test_an_overlap_that_is_not_known_or_does_not_fit_gives_no_interval(
    database: Database, shared: list[dict[str, int]] | None
) -> None:
    know(database, shared)
    rows = collected(database, of_hits, (1, 2), (0,))
    mean = rows[None, None]
    assert (mean.values["top1"], mean.row.clips) == (Value(0.7), None)
    assert rows[1, None].values["top1"].lower == pytest.approx(wilson(0.7, 10)[0])


def test_a_dataset_of_one_split_has_nothing_in_common(database: Database) -> None:
    know(database, None, splits=(1,))
    mean = collected(database, of_hits, (1,), (0,))[None, None]
    assert (mean.row.clips, mean.values["top1"].lower) == (10, pytest.approx(wilson(0.7, 10)[0]))


def test_lists_that_the_dataset_does_not_use_count_nothing(database: Database) -> None:
    """A third split has lists, and clips of the others, but is none of the dataset's."""
    know(database, [{"1": 0, "3": 4}, {"1": 1, "2": 1, "3": 5}])
    assert collected(database, of_hits, (1, 2), (0,))[None, None].row.clips == 19


def test_a_split_that_lacks_a_seed_of_the_others_is_missing(database: Database) -> None:
    know(database, [])
    rows = collected(
        database, lambda split, seed: [] if (split, seed) == (2, 1) else of_hits(split, seed), (1, 2), (0, 1)
    )
    mean = rows[None, None]
    assert (mean.values, mean.row.missing_splits) == ({}, [2])
    assert rows[2, None].row.seeds == 1


def test_deviations_are_those_of_the_seeds(database: Database) -> None:
    """Of a split: over its seeds. Of the mean: over each seed's own mean over splits, however the splits differ."""
    rows = run(database, (1, 2, 3))
    assert rows[2, None].values["top1"].spread == 0
    assert rows[1, None].values["mean_class"].spread == pytest.approx(np.std([0.5, 0.7], ddof=1))
    of_seeds = [np.mean([0.5, 0.8, 0.9]), np.mean([0.7, 0.8, 0.7])]
    for metric in ("top1", "mean_class"):
        assert rows[None, None].values[metric].spread == pytest.approx(np.std(of_seeds, ddof=1))


def test_one_seed_has_no_deviation(database: Database) -> None:
    know(database, [])
    rows = collected(database, of_hits, (1, 2), (0,))
    assert {value.spread for found in rows.values() for value in found.values.values()} == {None}


def test_shares_of_clips_have_intervals_and_other_metrics_none(database: Database) -> None:
    rows = run(database, (1, 2, 3))
    for found in rows.values():
        assert found.values["top5"].lower == pytest.approx(wilson(1.0, found.row.clips or 0)[0])
        assert (found.values["mean_class"].lower, found.values["mean_class"].upper) == (None, None)


def test_a_metric_that_is_younger_than_some_stages_has_no_mean_of_them(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "top3", Metric("top3", "Top-3 accuracy", within=3))  # type: ignore[call-overload]

    def made(split: int, seed: int) -> list[dict[str, Any]]:
        entry = result("rgb", split, seed, 0.5)
        return [entry if split == 2 else entry | {"metrics": entry["metrics"] | {"top3": 0.75}}]

    know(database, [])
    rows = collected(database, made, (1, 2), (0, 1))
    assert rows[1, None].values["top3"].value == 0.75
    assert rows[1, None].values["top3"].lower == pytest.approx(wilson(0.75, 100)[0])
    assert rows[2, None].values.keys() == rows[None, None].values.keys() == {"top1", "top5", "mean_class"}


def test_a_spec_that_is_refused_by_now_still_gets_its_results(database: Database) -> None:
    """Another version, with another check, may have been started while it trained."""
    made = submit(database, small_spec(splits=(1,), seeds=(0,), model={"kind": "mean_pooling"}))
    spec = {**made.row.spec, "evaluation": {"frames": -1}, "model": {"kind": "gone"}, "field": "of another version"}
    with pytest.raises(ValidationError):
        ExperimentSpec.model_validate(spec)
    with database.transaction() as session:
        session.get_one(ExperimentRow, made.row.id).spec = spec
    Decreed(database).run_all()
    with database.transaction() as session:
        found = results.listing(session, made.row.id)
        assert session.get_one(ExperimentRow, made.row.id).state == "succeeded"
    assert [entry.row.split for entry in found] == [1, 1, None]
    assert {entry.row.model for entry in found} == {"mean_pooling"}
    assert {entry.protocol for entry in found} == {Protocol.of(small_spec(), "rgb").line}


def test_results_that_are_written_again_stay_the_same(database: Database) -> None:
    made = submit(database, small_spec(splits=(1,), seeds=(0, 1))).row
    Decreed(database).run_all()
    with database.transaction() as session:
        before = [(entry.row.id, entry.values) for entry in results.listing(session, made.id)]
        results.collect(session, session.get_one(ExperimentRow, made.id))
        session.flush()
        assert [(entry.row.id, entry.values) for entry in results.listing(session, made.id)] == before


LEFT_OUT = {"code": "class_map", "severity": "flagged", "field": "splits", "sentence": "split 1: ..."}
UNKNOWN = {"code": "weights_unknown", "severity": "flagged", "field": "backbone.weights", "sentence": "/a is read ..."}


@pytest.mark.parametrize(
    ("known", "expected"), [(True, [LEFT_OUT]), (False, [UNKNOWN, LEFT_OUT]), (None, [UNKNOWN, LEFT_OUT])]
)
def test_flags_of_the_index_stage_are_added_and_those_of_weights_that_say_what_they_saw_withdrawn(
    database: Database, known: bool | None, expected: list[dict[str, str]]
) -> None:
    made = submit(database, small_spec()).row
    with database.transaction() as session:
        session.get_one(ExperimentRow, made.id).flags = [UNKNOWN]
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "index":
            found = [{**LEFT_OUT, "split": 1}, {**LEFT_OUT, "sentence": "split 2: ...", "split": 2}]
            worker.succeed(claim, findings=found, digest="d", lists="l", shared=[])
        elif claim.kind == "score":
            worker.succeed(claim, **({"made": "score"} if known is None else {"weights_known": known}))
        else:
            worker.succeed(claim)

    worker.run_all(end)
    with database.transaction() as session:
        assert session.get_one(ExperimentRow, made.id).flags == expected
        assert [entry.flags for entry in results.listing(session, made.id)] == [expected] * 3
        query = select(OutboxRow.data).where(OutboxRow.experiment_id == made.id, OutboxRow.kind == "status")
        tags = [data["tags"]["flags"] for data in session.scalars(query) if "flags" in data.get("tags", {})]
        assert tags == [", ".join(sorted(flag["code"] for flag in expected))]
        results.collect(session, session.get_one(ExperimentRow, made.id))
        assert session.get_one(ExperimentRow, made.id).flags == expected


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"weights_known": False}, "weights_unknown"),
        ({"chosen_on_test": True}, "selected_on_test"),
        ({"validation_seen": "motion_shapes"}, "validation_seen"),
    ],
)
def test_what_weights_say_against_themselves_stands_on_results(
    database: Database, said: dict[str, object], code: str
) -> None:
    made, other = (submit(database, small_spec(name=name, seeds=(seed,))).row for seed, name in enumerate("ab"))
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        mine = claim.kind in {"train", "score"} and claim.params["seed"] == 0
        worker.succeed(claim, **(said if mine else {}))

    worker.run_all(end)
    with database.transaction() as session:
        rows = {row.id: results.listing(session, row.id) for row in (made, other)}
        assert {flag["code"] for row in rows[made.id] for flag in row.flags} == {code}
        assert all(row.selected_on_test == (code == "selected_on_test") for row in rows[made.id])
        assert not any(row.flags or row.selected_on_test for row in rows[other.id])
        plain = {row.protocol for row in rows[other.id]}
        assert ({row.protocol for row in rows[made.id]} == plain) == (code != "selected_on_test")
        ranked = leaderboard.rank(session, dataset="motion_shapes", split=1, stream="rgb").rows
        assert made.id in {row.experiment_id for row in ranked} or code == "selected_on_test"
        assert len(ranked) == (1 if code == "selected_on_test" else 2)
        results.collect(session, session.get_one(ExperimentRow, made.id))
        again = results.listing(session, made.id)
        told = select(OutboxRow.data).where(OutboxRow.experiment_id == made.id, OutboxRow.kind == "status")
        tags = [data["tags"]["protocol"] for data in session.scalars(told) if "protocol" in data.get("tags", {})]
        assert tags == ([again[0].protocol] if code == "selected_on_test" else [])
        assert [(row.flags, row.protocol) for row in again] == [(row.flags, row.protocol) for row in rows[made.id]]
