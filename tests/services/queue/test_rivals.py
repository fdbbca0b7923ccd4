"""Transactions that meet: none decides by what it read before a lock, none holds up others, none deadlocks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import select, text

from services.api_keys import LOCAL
from services.db.engine import Database, Session
from services.db.tables import AttemptRow, StageRow
from services.errors import Cause, Conflict, LeaseLost, TwostreamError, Unavailable
from services.planning import submission
from services.queue import attempts, experiments
from services.queue.housekeeping import end_expired
from tests.databases import wait_for_waiters
from tests.services.conftest import Decreed, small_spec, submit

PATIENCE_SECONDS = 120


@contextmanager
def held(database: Database, statement: str) -> Iterator[Any]:
    """Hold what a statement locks, in a transaction of its own, while a block runs; then commit."""
    with database.transaction() as session:
        session.execute(text(statement))
        yield session


def states(database: Database) -> dict[str, str]:
    with database.transaction() as session:
        return {row.kind if row.kind == "index" else row.label: row.state for row in session.scalars(select(StageRow))}


def test_a_lease_that_is_renewed_while_the_sweep_waits_is_kept(database: Database) -> None:
    submit(database, small_spec())
    claim = Decreed(database).claim("cpu", lease_seconds=-1)
    assert claim is not None
    with ThreadPoolExecutor() as threads:
        with database.transaction() as session:
            attempts.heartbeat(session, claim.key, claim.attempt, 30)  # not committed yet
            sweep = threads.submit(end_expired, database)
            wait_for_waiters(database)
        sweep.result(PATIENCE_SECONDS)
    assert states(database)["index"] == "running"
    with database.transaction() as session:
        assert session.scalars(select(AttemptRow.state)).all() == ["running"]


def test_an_ending_that_comes_before_the_sweep_ends_no_sweep(database: Database) -> None:
    worker = Decreed(database)
    for name in ("one", "other"):
        submit(database, small_spec(name=name, dataset="motion_shapes", seeds=(0,) if name == "one" else (1,)))
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    late, lost = worker.claim("gpu", lease_seconds=-1), worker.claim("gpu", lease_seconds=-1)
    assert late is not None
    assert lost is not None
    with ThreadPoolExecutor() as threads:
        with database.transaction() as session:
            attempts.succeed(session, late.key, late.attempt, summary={}, output="there", log="")
            sweep = threads.submit(end_expired, database)
            wait_for_waiters(database)
        sweep.result(PATIENCE_SECONDS)
    with database.transaction() as session:
        rows = {row.key: row.state for row in session.scalars(select(StageRow))}
    assert (rows[late.key], rows[lost.key]) == ("succeeded", "ready")


def test_a_dependant_that_is_submitted_while_its_input_succeeds_becomes_ready(database: Database) -> None:
    submit(database, small_spec())
    worker = Decreed(database)
    claim = worker.claim("cpu")
    assert claim is not None
    with ThreadPoolExecutor() as threads:
        with database.transaction() as session:
            submission.submit(session, small_spec(seeds=(7,)), owner="other", body_digest="")
            success = threads.submit(
                database.run,
                lambda session: attempts.succeed(session, claim.key, claim.attempt, summary={}, output="there", log=""),
            )
            wait_for_waiters(database)
        success.result(PATIENCE_SECONDS)
    assert "waiting" not in {state for label, state in states(database).items() if label.startswith("extract")}


def test_a_dependant_that_is_submitted_while_its_input_fails_fails_too(database: Database) -> None:
    submit(database, small_spec())
    worker = Decreed(database)
    claim = worker.claim("cpu")
    assert claim is not None
    with ThreadPoolExecutor() as threads:
        with database.transaction() as session:
            other = submission.submit(session, small_spec(seeds=(7,)), owner="other", body_digest="").row
            failure = threads.submit(
                database.run,
                lambda session: attempts.fail(session, claim.key, claim.attempt, cause=Cause.DATA_ERROR, message="bad"),
            )
            wait_for_waiters(database)
        failure.result(PATIENCE_SECONDS)
    assert set(states(database).values()) == {"failed", "cancelled"}
    with database.transaction() as session:
        assert experiments.get(session, other.id).state == "failed"


def test_a_row_that_another_transaction_holds_delays_no_other_expiry(database: Database) -> None:
    worker = Decreed(database)
    submit(database, small_spec(seeds=(0, 1)))
    worker.succeed(worker.claim("cpu"))  # type: ignore[arg-type]
    frozen, lost = worker.claim("gpu", lease_seconds=-2), worker.claim("gpu", lease_seconds=-1)
    assert frozen is not None
    assert lost is not None
    with held(database, f"UPDATE stage SET progress = '{{}}' WHERE key = '{frozen.key}'"):
        end_expired(database)
        with database.transaction() as session:
            rows = {row.key: row.state for row in session.scalars(select(StageRow))}
        assert (rows[frozen.key], rows[lost.key]) == ("running", "ready")
    end_expired(database)
    with database.transaction() as session:
        assert session.get_one(StageRow, frozen.key).state == "ready"


def test_a_client_that_forgets_its_transaction_gives_its_locks_up(database_url: str, database: Database) -> None:
    submit(database, small_spec())
    claim = Decreed(database).claim("cpu", lease_seconds=-1)
    assert claim is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (
        closing(Database(database_url, patience_seconds=0.5)) as forgetful,
        pytest.raises(Unavailable),
        forgetful.transaction() as session,
    ):
        session.execute(text("UPDATE stage SET progress = '{}'"))
        while states(database)["index"] != "ready" and time.monotonic() < deadline:
            end_expired(database)
    assert states(database)["index"] == "ready"


class Rivals:
    """What many hands do to one graph at once."""

    def __init__(self, database: Database) -> None:
        self.database, self.ids, self.refused = database, list[str](), list[TwostreamError]()

    def post(self, number: int) -> None:
        spec = small_spec(name=f"{number}", seeds=(number % 3, (number + 1) % 3))
        made = self.database.run(
            lambda session: submission.submit(session, spec, owner=f"{number % 2}", body_digest="")
        )
        self.ids.append(made.row.id)

    def end(self, number: int) -> None:
        claim = Decreed(self.database, f"w{number}").claim_any()
        if claim is None:
            return
        found, cause = claim, (Cause.DATA_ERROR, Cause.WORKER_LOST, None)[number % 3]

        def work(session: Session) -> object:
            if cause is None:
                return attempts.succeed(
                    session, found.key, found.attempt, summary={"made": "x"}, output="there", log=""
                )
            return attempts.fail(session, found.key, found.attempt, cause=cause, message="x")

        self.database.run(work)

    def cancel(self, number: int) -> None:
        if self.ids:
            self.database.run(lambda session: experiments.cancel(session, self.ids[number % len(self.ids)], LOCAL))

    def retry(self, number: int) -> None:
        if self.ids:
            self.database.run(lambda session: experiments.retry(session, self.ids[number % len(self.ids)], LOCAL))

    def repeat(self, step: Callable[[int], object]) -> None:
        for number in range(12):
            try:
                step(number)
            except (LeaseLost, Conflict):
                pass  # another hand was quicker
            except TwostreamError as error:
                self.refused.append(error)


def test_rivals_that_fail_cancel_retry_and_submit_at_once_meet_no_deadlock(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "services.db.engine")
    rivals = Rivals(database)
    steps = (rivals.post, rivals.post, rivals.end, rivals.end, rivals.end, rivals.cancel, rivals.retry)
    with ThreadPoolExecutor(len(steps)) as threads:
        for ended in [threads.submit(rivals.repeat, step) for step in steps]:
            ended.result(PATIENCE_SECONDS)
    assert rivals.refused == []
    assert "deadlock" not in caplog.text


def test_a_deadlock_that_comes_anyway_is_run_again(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "services.db.engine")
    submit(database, small_spec())
    first, last = sorted(row_key for row_key in keys(database))[:2]
    both = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def lock(order: tuple[str, str]) -> Callable[[Session], None]:
        met = iter((True,))

        def work(session: Session) -> None:
            for key in order:
                session.execute(text("SELECT FROM stage WHERE key = :key FOR UPDATE"), {"key": key})
                if next(met, False):
                    both.wait()

        return work

    with ThreadPoolExecutor() as threads:
        for ended in [threads.submit(database.run, lock(order)) for order in ((first, last), (last, first))]:
            ended.result(PATIENCE_SECONDS)
    assert "deadlock" in caplog.text


def keys(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(StageRow.key)))
