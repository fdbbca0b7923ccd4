"""Old results get their hits, and so their rank groups, from what was said of each clip."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from services.board import backfill, leaderboard
from services.board.version import version
from services.db.engine import Database
from services.db.tables import ResultHitsRow, ResultRow
from services.queue.claim import Claim
from tests.services.conftest import Decreed, result, small_spec, submit
from tests.services.packed import answered

CLASSES = ("Jump", "Run", "Walk")
Found = dict[tuple[int, int], tuple[str, int, bytes]]


def measure(database: Database, seeds: tuple[int, ...], *, kept: bool = True) -> str:
    """Run an experiment on all splits; ``kept`` says whether what it said of each clip is."""
    row = submit(database, small_spec(splits=(1, 2, 3), seeds=seeds)).row
    worker = Decreed(database)

    def end(claim: Claim) -> None:
        if claim.kind == "fuse" and kept:
            said = (0, 1, claim.params["split"] - 1, claim.params["seed"] % 3)
            entry = result("rgb", claim.params["split"], claim.params["seed"], 0.5, 4)
            worker.succeed(claim, **answered(entry, CLASSES, (0, 1, 2, 2), said))
        else:
            worker.succeed(claim)

    worker.run_all(end)
    return row.id


def hits(database: Database) -> Found:
    with database.transaction() as session:
        rows = session.scalars(select(ResultHitsRow))
        return {(row.result_id, row.within): (row.truth, row.seeds, row.bits) for row in rows}


def test_what_old_results_lack_is_filled_bit_by_bit_and_the_board_notices(database: Database) -> None:
    for seeds in ((0, 1), (2,)):
        measure(database, seeds)
    without = measure(database, (5,), kept=False)
    expected = hits(database)
    assert expected
    with database.transaction() as session:
        session.execute(delete(ResultHitsRow))
    with database.transaction() as session:
        before = version(session, "motion_shapes")
        board = leaderboard.rank(session, dataset="motion_shapes", stream="rgb")
    assert {row.group for row in board.rows} == {None}
    steps = [database.run(lambda session: backfill.fill(session, limit=3))]
    while not steps[-1].done:
        steps.append(database.run(lambda session: backfill.fill(session, limit=3)))
    assert hits(database) == expected
    assert len(steps) > 3
    assert [step.after for step in steps] == sorted({step.after for step in steps})
    assert steps[-1].filled == len({result_id for result_id, _ in expected})
    with database.transaction() as session:
        assert version(session, "motion_shapes") != before
        board = leaderboard.rank(session, dataset="motion_shapes", stream="rgb")
        assert backfill.progress(session) == steps[-1]
    groups = {row.experiment_id: row.group for row in board.rows}
    assert groups.pop(without) is None
    assert None not in groups.values()


def test_once_it_is_done_nothing_is_looked_at_again(database: Database) -> None:
    first = database.run(backfill.fill)
    assert (first.done, first.filled) == (True, 0)
    measure(database, (0,))
    with database.transaction() as session:
        session.execute(delete(ResultHitsRow))
        version_before = version(session, "motion_shapes")
    assert database.run(backfill.fill) == first
    assert hits(database) == {}
    with database.transaction() as session:
        assert version(session, "motion_shapes") == version_before


def test_predictions_that_some_seed_lacks_fill_nothing_of_its_means(database: Database) -> None:
    measure(database, (0, 1))
    with database.transaction() as session:
        session.execute(delete(ResultHitsRow))
        session.execute(update(ResultRow).where(ResultRow.split == 1, ResultRow.seed == 1).values(prediction=None))
    assert database.run(backfill.fill).done
    with database.transaction() as session:
        rows = session.execute(select(ResultRow.split).join(ResultHitsRow, ResultHitsRow.result_id == ResultRow.id))
        assert {split for (split,) in rows} == {2, 3}
