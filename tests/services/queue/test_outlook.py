"""When stages start and end, by hand-made histories in a real queue."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from services.db.engine import Database, Session
from services.db.tables import AttemptRow, StageRow
from services.errors import Cause
from services.queue import attempts, history, outlook, quotas, workers
from services.queue.attempts import Fact
from services.queue.history import Estimate
from services.queue.outlook import Outlook
from services.queue.pace import Span
from services.settings import Quota
from services.specs import ExperimentSpec
from tests.services.conftest import Decreed, small_spec, submit

SECONDS = {"index": 1000.0, "extract": 2000.0, "train": 4000.0, "score": 500.0, "fuse": 100.0}
COARSE = 50
"""Seconds to which times are rounded: this test takes time itself."""
Ahead = Callable[[], dict[str, dict[str, Span]]]


def again(number: int) -> ExperimentSpec:
    """A spec that shares the stages before its training, which differs from the small one in what costs nothing."""
    return small_spec(training={"optimizer": {"name": "adam", "learning_rate": number * 1e-5}})


def took(database: Database, **seconds: float) -> None:
    """Have the last attempt at each finished stage of some kinds taken so long."""
    with database.transaction() as session:
        for kind, length in seconds.items():
            for row in session.scalars(select(StageRow).where(StageRow.kind == kind, StageRow.state == "succeeded")):
                attempt = session.get_one(AttemptRow, (row.key, row.attempt))
                attempt.started_at = attempt.finished_at - timedelta(seconds=length)  # type: ignore[operator]


def work(database: Database, *, slots: int = 1) -> None:
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu", "gpu"], devices=["cpu"], concurrency=slots)


def ahead(database: Database) -> dict[str, dict[str, Span]]:
    """Return what is left, and when what waits starts and ends, by the kind of stage."""
    with database.transaction() as session:
        found: Outlook = outlook.look_ahead(session)
        kinds = {row.key: row.kind for row in session.scalars(select(StageRow))}
    return {
        name: {
            kinds[key]: Span(*(value and COARSE * round(value / COARSE) for value in span))
            for key, span in spans.items()
        }
        for name, spans in (("left", found.left), ("starts", found.starts), ("ends", found.ends))
    }


@pytest.fixture
def known(database: Database) -> Decreed:
    """A worker, and an experiment that was worked off in known times."""
    worker = Decreed(database, "w")
    submit(database, small_spec())
    worker.run_all()
    took(database, **SECONDS)
    return worker


def test_nobody_knows_what_has_never_run(database: Database) -> None:
    submit(database, small_spec())
    assert ahead(database) == {"left": {}, "starts": {}, "ends": {}}  # and nobody works
    work(database)
    assert ahead(database) == {"left": {}, "starts": {"index": Span(0, 0)}, "ends": {}}


def test_a_plan_starts_stage_after_stage_by_what_earlier_ones_took(database: Database, known: Decreed) -> None:
    work(database)
    submit(database, again(1))
    found = ahead(database)
    assert found["starts"] == {"train": Span(0, 0), "score": Span(4000, 4000), "fuse": Span(4500, 4500)}
    assert found["ends"]["fuse"] == Span(4600, 4600)
    submit(database, again(2))
    with database.transaction() as session:
        starts = outlook.look_ahead(session).starts
        trains = session.scalars(select(StageRow.key).where(StageRow.kind == "train", StageRow.state == "ready"))
        assert sorted(round(starts[key].low) for key in trains) == [0, 4000]


def test_who_is_at_their_quota_starts_when_what_they_run_ends(database: Database, known: Decreed) -> None:
    work(database, slots=4)
    for number in (1, 2):
        submit(database, again(number))
    claim = known.claim("gpu")
    assert claim is not None
    assert ahead(database)["starts"]["train"] == Span(0, 0), "without a quota a slot is free"
    database.run(lambda session: quotas.replace(session, {"*": Quota(stages=1)}))
    assert ahead(database)["starts"]["train"] == Span(4000, 4000)
    database.run(lambda session: quotas.replace(session, {"*": Quota(stages=0), "local": Quota(gpus=1)}))
    assert "train" not in ahead(database)["starts"], "the quota of everybody has no room, whatever runs"
    database.run(lambda session: quotas.replace(session, {"local": Quota(gpus=1)}))
    assert ahead(database)["starts"]["train"] == Span(4000, 4000)


def test_a_running_stage_tells_by_earlier_ones_and_then_by_itself(database: Database, known: Decreed) -> None:
    work(database)
    made = submit(database, again(1))
    claim = known.claim("gpu")
    assert claim is not None
    assert ahead(database)["left"] == {"train": Span(4000, 4000)}
    assert ahead(database)["starts"] == {"score": Span(4000, 4000), "fuse": Span(4500, 4500)}
    with database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, [Fact("progress", 0, progress(0))])
    age(database, claim.key, seconds=3000)
    with database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, [Fact("progress", 0, progress(10))])
    left = ahead(database)["left"]["train"]
    assert left.low == pytest.approx(27_000, rel=0.05)
    with database.transaction() as session:
        whole = outlook.of_experiment(session, outlook.look_ahead(session), made.row.id)
    assert whole is not None
    assert whole.low == pytest.approx(27_600, rel=0.05)


def progress(done: int) -> dict[str, Any]:
    return {"done": done, "total": 100, "unit": "steps", "message": ""}


def age(database: Database, key: str, seconds: float) -> None:
    """Have a stage, and what it said so far, be older."""
    with database.transaction() as session:
        row = session.get_one(StageRow, key)
        row.started_at -= timedelta(seconds=seconds)  # type: ignore[operator]
        if row.progress:
            marks = [[at - seconds, done] for at, done in row.progress["marks"]]
            row.progress = {**row.progress, "marks": marks}


def test_one_that_takes_longer_than_all_before_does_not_say_it(database: Database, known: Decreed) -> None:
    work(database)
    made = submit(database, again(1))
    claim = known.claim("gpu")
    assert claim is not None
    age(database, claim.key, seconds=4100)
    found = ahead(database)
    assert (found["left"], found["starts"]) == ({}, {"fuse": Span(500, None)})
    with database.transaction() as session:
        assert outlook.of_experiment(session, outlook.look_ahead(session), made.row.id) == Span(600, None)


def test_times_that_differ_are_a_range(database: Database, known: Decreed) -> None:
    work(database)
    submit(database, again(1))
    known.run_all()
    with database.transaction() as session:
        last = select(StageRow.key).where(StageRow.kind == "train").order_by(StageRow.finished_at.desc()).limit(1)
        attempt = session.get_one(AttemptRow, (session.scalar(last), 1))
        attempt.started_at = attempt.finished_at - timedelta(seconds=10_000)  # type: ignore[operator]
    submit(database, again(2))
    assert ahead(database)["starts"]["score"] == Span(4000, 10_000)


def test_what_cannot_start_has_no_time(database: Database, known: Decreed) -> None:
    submit(database, again(1))
    with database.transaction() as session:
        workers.report(session, "w", queues=["cpu"], devices=["cpu"], concurrency=1)
    assert ahead(database)["starts"] == {}


def test_an_attempt_that_went_on_from_another_is_no_measure(database: Database) -> None:
    worker = Decreed(database, "w")
    submit(database, small_spec())
    tried: set[str] = set()

    def fail_once(claim: Any) -> None:
        if claim.kind == "train" and claim.key not in tried:
            tried.add(claim.key)
            worker.fail(claim, Cause.PREEMPTED)
            with database.transaction() as session:
                session.execute(update(StageRow).values(not_before=None))
        else:
            worker.succeed(claim)

    worker.run_all(fail_once)
    took(database, **SECONDS)
    with database.transaction() as session:
        sizes = {row.kind: row.sizes for row in session.scalars(select(StageRow))}
        found = history.earlier(session, {name for name in sizes.values() if name})
        assert history.estimate(found.get(sizes["train"] or "", ())) == Estimate()
        assert history.estimate(found[sizes["score"] or ""]).seconds == pytest.approx(500)


def test_a_tenth_at_each_end_is_left_out_of_many() -> None:
    class Row:
        def __init__(self, seconds: float, gpus: int = 0) -> None:
            self.seconds, self.gpus = seconds, gpus

    many = [Row(float(seconds)) for seconds in range(1, 100)] + [Row(1e9)]
    found = history.span(many, 0)
    assert found is not None
    assert found.high is not None
    assert (round(found.low), round(found.high)) == (11, 90)
    assert history.span([Row(1.0), Row(50.0, gpus=2)], 2) == Span(50, 50)
    assert history.span([Row(1.0), Row(50.0, gpus=2)], 4) == Span(1, 50)
    assert history.span([], 0) is None


def test_the_line_and_earlier_times_are_found_by_an_index(database: Database) -> None:
    with database.transaction() as session:
        fill(session, 5_000)
    with database.transaction() as session:
        session.execute(text("ANALYZE stage, attempt"))
        line = select(*outlook.COLUMNS).where(workers.WAITING).order_by(*workers.IN_LINE).limit(outlook.LINE)
        compiled = str(line.compile(session.get_bind(), compile_kwargs={"literal_binds": True}))
        plan = "\n".join(session.scalars(text(f"EXPLAIN {compiled}")))
        assert "ix_stage_line" in plan
        sizes = "sizes-7"
        earlier = str(history.EARLIER).replace(":sizes", f"ARRAY['{sizes}']").replace(":latest", "50")
        plan = "\n".join(session.scalars(text(f"EXPLAIN {earlier}")))
        assert "ix_stage_sizes" in plan
        assert "Seq Scan" not in plan
        assert len(history.earlier(session, {sizes})[sizes]) == history.LATEST


def fill(session: Session, number: int) -> None:
    """Write so many finished stages, each with an attempt."""
    session.execute(
        text("""
        INSERT INTO stage (key, kind, params, label, queue, owner, timeout_seconds, state, attempt, sizes, finished_at)
        SELECT 'k' || n, 'train', '{}', 'l', 'gpu', 'o', 1, 'succeeded', 1, 'sizes-' || n % 50,
            now() - n * interval '1 s'
        FROM generate_series(1, :number) AS n
        """),
        {"number": number},
    )
    session.execute(
        text("""
        INSERT INTO attempt (stage_key, number, worker_id, device, state, started_at, finished_at)
        SELECT key, 1, 'w', 'cpu', 'succeeded', finished_at - interval '9 s', finished_at FROM stage
        """)
    )
    assert session.scalar(select(func.count()).select_from(AttemptRow)) == number
