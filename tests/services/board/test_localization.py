"""Metrics of boxes are ranked by what they were measured against, and leave the boards of class scores alone."""

from __future__ import annotations

from typing import Any

import pytest

from services import figures
from services.board import compare, leaderboard, results
from services.board.leaderboard import Board
from services.board.protocol import VARIABLE, BoxProtocol, with_boxes
from services.board.results import Result
from services.datasets.motion_shapes import MotionShapesParams
from services.db.engine import Database
from services.db.tables import ExperimentRow
from services.figures import Choice
from services.figures.overlap import Overlaps
from services.metrics import IOUS, MEAN_IOU, of_boxes
from services.queue.claim import Claim
from services.specs import EvaluationSpec, LocalizationSpec
from tests.services.conftest import Decreed, result, small_spec, submit

OURS, OTHERS = MotionShapesParams().digest, "b" * 64


def localized(share: float, boxes: str | None = None) -> dict[str, Any]:
    """What a stage says that found a share of tubes at every threshold."""
    by_iou = {f"{iou:g}": share for iou in IOUS}
    said = {"clips": 3, "boxed": 3, "tubes": 3, "map": {**by_iou, MEAN_IOU: share / 2}, "recall": by_iou}
    return said if boxes is None else {**said, "boxes": boxes}


def run(database: Database, name: str, shares: dict[tuple[int, int], dict[str, Any]], **changes: Any) -> str:
    """Run an experiment whose `localize` stages say these, by split and seed."""
    look = EvaluationSpec(localization=LocalizationSpec(**changes.pop("localization", {})))
    splits, seeds = (tuple(sorted({place[at] for place in shares})) for at in (0, 1))
    changes = {"model": {"kind": "conv_alstm", "hidden": 8 + len(name)}, "evaluation": look, **changes}
    made = submit(database, small_spec(name=name, splits=splits, seeds=seeds, **changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        place = claim.params.get("split"), claim.params.get("seed")
        if claim.kind == "localize":
            worker.succeed(claim, **shares[place])
        else:
            worker.succeed(claim, **({"results": [result("rgb", *place)]} if claim.kind == "fuse" else {"made": 1}))

    worker.run_all(end)
    return made.id


def rows(database: Database, experiment: str) -> dict[tuple[int | None, int | None], Result]:
    with database.transaction() as session:
        return {(found.row.split, found.row.seed): found for found in results.listing(session, experiment)}


def board(database: Database, metric: str, **options: Any) -> Board:
    with database.transaction() as session:
        return leaderboard.rank(session, dataset="motion_shapes", stream="rgb", metric=metric, **options)


def test_a_stage_gives_a_result_its_metrics_of_boxes(database: Database) -> None:
    shares = {(split, seed): localized(split / 10 + seed / 100) for split in (1, 2, 3) for seed in (0, 1)}
    found = rows(database, run(database, "a", shares))
    assert of_boxes().keys() <= found[1, 0].values.keys()
    assert found[1, 1].values["video_map_0.5"].value == pytest.approx(0.11)
    assert found[1, None].values["box_recall_0.05"].value == pytest.approx(0.105)
    mean = found[None, None].values["video_map_mean"]
    assert (mean.value, mean.spread) == (pytest.approx(0.205 / 2), pytest.approx(0.01 / 2 / 2**0.5))
    assert mean.lower is None
    line = f"boxes {OURS[:12]}, threshold 100, smoothed over 25 frames"
    assert {each.box_protocol for each in found.values()} == {f"{found[1, 0].protocol}; {line}"}
    assert {each.boxes for each in found.values()} == {OURS}


def test_boards_of_boxes_are_ranked_by_their_own_protocol(database: Database) -> None:
    low, high = (run(database, name, {(1, 0): localized(share)}) for name, share in (("a", 0.2), ("bb", 0.4)))
    other = run(database, "ccc", {(1, 0): localized(0.9, OTHERS)})
    rough = run(database, "dddd", {(1, 0): localized(0.3)}, localization={"smoothing": 1})
    plain = run(database, "eeeee", {(1, 0): {}}, evaluation=EvaluationSpec())
    found = board(database, "video_map_0.5", split=1)
    assert [(row.experiment_id, row.value) for row in found.rows] == [(high, 0.4), (low, 0.2)]
    assert found.test is None
    assert len(found.other_protocols) == 2
    assert {row.experiment_id for row in board(database, "top1", split=1).rows} == {low, high, other, rough, plain}
    wide = board(database, "video_map_0.5", split=1, vary=["localization.smoothing"])
    assert [(row.experiment_id, row.varied) for row in wide.rows] == [
        (high, {"localization.smoothing": 25}), (rough, {"localization.smoothing": 1}),
        (low, {"localization.smoothing": 25}),
    ]  # fmt: skip
    widest = board(database, "box_recall_0.2", split=1, vary=list(VARIABLE))
    assert other not in {row.experiment_id for row in widest.rows}
    [line] = [line for line in found.other_protocols if OTHERS[:12] in line]
    assert [row.experiment_id for row in board(database, "video_map_0.5", split=1, protocol=line).rows] == [other]


def test_an_entry_without_a_mean_is_named_on_boards_of_boxes_too(database: Database) -> None:
    whole = run(database, "a", {(split, 0): localized(0.2) for split in (1, 2, 3)})
    part = run(database, "bb", {(1, 0): localized(0.4)})
    run(database, "ccc", {(1, 0): {}}, evaluation=EvaluationSpec())
    found = board(database, "video_map_0.5")
    assert [row.experiment_id for row in found.rows] == [whole]
    assert [(row.experiment_id, row.missing_splits) for row in found.incomplete] == [(part, (2, 3))]
    assert board(database, "top1").total_incomplete == 2


def test_boxes_that_changed_meanwhile_have_no_mean_and_are_flagged(database: Database) -> None:
    made = run(database, "a", {(1, 0): localized(0.2), (1, 1): localized(0.4, OTHERS)})
    found = rows(database, made)
    assert not any(of_boxes().keys() & each.values.keys() for each in found.values())
    assert {each.box_protocol for each in found.values()} == {None}
    with database.transaction() as session:
        assert [flag["code"] for flag in session.get_one(ExperimentRow, made).flags] == ["boxes_differ"]


def test_a_stage_of_before_lacks_what_it_did_not_measure(database: Database) -> None:
    said = localized(0.2)
    del said["map"][MEAN_IOU]
    found = rows(database, run(database, "a", {(1, 0): said}))
    assert "video_map_mean" not in found[1, None].values
    assert "video_map_0.5" in found[1, None].values
    assert board(database, "video_map_mean", split=1).rows == ()


def test_curves_are_drawn_by_stream_and_split_beside_those_of_a_baseline(database: Database) -> None:
    own = run(database, "a", {(1, seed): localized(share) for seed, share in ((0, 0.2), (1, 0.4))})
    other = run(database, "bb", {(1, 0): localized(0.6)})
    with database.transaction() as session:
        drawing = figures.prepared(session, own, "localization", Choice(baseline=other))
    assert isinstance(drawing, Overlaps)
    (_, recall), (_, tubes) = drawing.panels
    names = ["rgb, split 1", "middle of the frame", "bb, rgb, split 1"]
    assert [curve.name for curve in recall] == [curve.name for curve in tubes] == names
    assert tubes[0].ious == IOUS
    assert (tubes[0].values[0], tubes[2].values[0]) == (pytest.approx(0.3), pytest.approx(0.6))


def test_what_a_protocol_of_boxes_says() -> None:
    look = BoxProtocol(boxes=OTHERS, threshold=100.0, smoothing=1)
    own = with_boxes({"frames": 25}, "25 frames", look)
    assert own.line == "25 frames; boxes bbbbbbbbbbbb, threshold 100, not smoothed"
    assert own.fields == {"frames": 25, "localization": {"boxes": OTHERS, "threshold": 100.0, "smoothing": 1}}
    assert own.digest != with_boxes({"frames": 25}, "25 frames", look.model_copy(update={"boxes": OURS})).digest
    assert {name for name in VARIABLE if name.startswith("localization")} == {
        "localization.threshold", "localization.smoothing",
    }  # fmt: skip


@pytest.mark.parametrize(("boxes", "there"), [(None, True), (OTHERS, False)])
def test_two_systems_are_compared_against_the_same_boxes(database: Database, boxes: str | None, there: bool) -> None:
    left, right = (
        rows(database, run(database, name, {(1, 0): said}))[1, None]
        for name, said in (("a", localized(0.2)), ("bb", localized(0.5, boxes)))
    )
    found = {each.metric: each.difference for each in compare.overlaps(left, right)}
    assert found.keys() == (of_boxes().keys() if there else set())
    assert all(value == pytest.approx(0.15 if name == "video_map_mean" else 0.3) for name, value in found.items())
