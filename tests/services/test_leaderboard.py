from __future__ import annotations

import pytest

from services import leaderboard
from services.claim import Claim
from services.db.engine import Database
from services.errors import Cause, InvalidRequest
from services.leaderboard import Board
from services.results import wilson
from services.specs import EvaluationSpec
from tests.services.conftest import Decreed, decreed_summary, result, small_spec, submit


def board(database: Database, **options: object) -> Board:
    with database.transaction() as session:
        return leaderboard.rank(session, **({"dataset": "motion_shapes", "stream": "rgb"} | options))  # type: ignore[arg-type]


def run(database: Database, name: str, rates: dict[int, float], **changes: object) -> str:
    """Run an experiment whose `fuse` stages give these rates by split."""
    row = submit(database, small_spec(name=name, splits=tuple(rates), priority=hash(name) % 100, **changes)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "fuse":
            split = claim.params["split"]
            worker.succeed(claim, results=[result("rgb", split, claim.params["seed"], rates[split])])
        else:
            worker.succeed(claim)

    worker.run_all(end)
    return row.id


def models(database: Database) -> list[dict[str, object]]:
    """Options that make each experiment's stages its own."""
    return [{"model": {"kind": "ts_lstm", "hidden": [width]}} for width in (8, 16, 32, 64)]


def test_the_mean_ranks_those_with_every_split_and_names_what_others_lack(database: Database) -> None:
    own = models(database)
    good = run(database, "good", {1: 0.9, 2: 0.8, 3: 0.7}, **own[0])
    better = run(database, "better", {1: 0.9, 2: 0.9, 3: 0.9}, **own[1])
    partial = run(database, "partial", {2: 1.0}, **own[2])
    found = board(database)
    assert [(row.rank, row.experiment_id) for row in found.rows] == [(1, better), (2, good)]
    assert found.rows[1].value == pytest.approx(0.8)
    assert found.rows[1].spread == pytest.approx(0.1)
    assert found.rows[1].splits == {1: 0.9, 2: 0.8, 3: 0.7}
    assert found.rows[1].lower == pytest.approx(wilson(0.8, 300)[0])
    assert [(row.experiment_id, row.value, row.missing_splits) for row in found.incomplete] == [(partial, None, (1, 3))]
    second = board(database, split=2)
    assert [row.experiment_id for row in second.rows] == [partial, better, good]
    assert second.incomplete == ()


def test_equal_values_share_a_rank(database: Database) -> None:
    for name, options in zip("abc", models(database), strict=False):
        run(database, name, {1: 0.5 if name < "c" else 0.25}, **options)
    assert [row.rank for row in board(database, split=1).rows] == [1, 1, 3]


def test_protocols_are_never_mixed(database: Database) -> None:
    own = models(database)
    run(database, "a", {1: 0.5}, **own[0])
    run(database, "b", {1: 0.6}, **own[1])
    other = run(database, "c", {1: 0.9}, **own[2], evaluation=EvaluationSpec(frames=10))
    found = board(database, split=1)
    assert [row.name for row in found.rows] == ["b", "a"]
    assert found.protocol == "25 frames, centre crop, probabilities, last epoch; frames of stack 10"
    assert found.other_protocols == {"10 frames, centre crop, probabilities, last epoch; frames of stack 10": 1}
    chosen = board(database, split=1, protocol=next(iter(found.other_protocols)))
    assert [row.experiment_id for row in chosen.rows] == [other]


def test_seeds_are_averaged_within_a_split(database: Database) -> None:
    row = submit(database, small_spec(seeds=(0, 1))).row
    worker = Decreed(database)
    rates = {0: 0.4, 1: 0.6}

    def end(claim: Claim) -> None:
        seed = claim.params.get("seed") or 0
        worker.succeed(claim, results=[result("rgb", 1, seed, rates[seed])] if claim.kind == "fuse" else [])

    worker.run_all(end)
    (standing,) = board(database, split=1).rows
    assert standing.experiment_id == row.id
    assert (standing.value, standing.seeds) == (pytest.approx(0.5), 2)
    assert standing.spread == pytest.approx(0.1414, abs=1e-4)


def test_two_streams_have_boards_of_their_own(database: Database) -> None:
    submit(database, small_spec(streams=("rgb", "flow")))
    worker = Decreed(database)
    worker.run_all(lambda claim: worker.succeed(claim, **decreed_summary(claim)))
    for stream in ("rgb", "flow", "two-stream"):
        assert len(board(database, stream=stream, split=1).rows) == 1


def test_a_failed_experiment_has_no_row_though_a_split_was_done(database: Database) -> None:
    submit(database, small_spec(splits=(1, 2)))
    worker = Decreed(database)
    worker.run_all(
        lambda claim: (
            worker.fail(claim, Cause.USER_ERROR)
            if claim.kind == "train" and claim.params["split"] == 1
            else worker.succeed(claim)
        )
    )
    assert board(database, split=2).rows == ()


def test_nothing_measured_gives_an_empty_board(database: Database) -> None:
    found = board(database)
    assert (found.rows, found.incomplete, found.protocol) == ((), (), None)


@pytest.mark.parametrize(("field", "value"), [("stream", "audio"), ("metric", "speed")])
def test_unknown_stream_or_metric(database: Database, field: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{field}: got '{value}', allowed: "):
        board(database, **{field: value})


def test_wilson_interval_against_published_values() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29
    for hits, clips, lower, upper in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits / clips, clips) == (pytest.approx(lower, abs=5e-5), pytest.approx(upper, abs=5e-5))
