"""Claim, heartbeat, expire, fail, succeed, cancel, retry and submit, interleaved in any way over several connections.

Hypothesis draws what each connection does and which of them goes on by one statement. ``TWOSTREAM_MACHINE_CASES`` says
how many cases are tried; `make test` tries few.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select, text

from services import experiments, graph, queue, registry, submission
from services.api_keys import LOCAL
from services.claim import claim as take
from services.db.engine import Database, Session
from services.db.tables import AttemptRow, ExperimentRow, StageRow
from services.errors import Cause, Conflict, Contended, LeaseLost
from services.housekeeping import end_expired
from tests.services.actors import Actor
from tests.services.conftest import small_spec
from tests.services.invariants import ALWAYS, AT_REST

CASES = int(os.environ.get("TWOSTREAM_MACHINE_CASES", "25"))
STEPS = 60
ACTORS = 3
FOREVER = 3600.0
CAUSES = (Cause.DATA_ERROR, Cause.INTERNAL, Cause.WORKER_LOST, Cause.PREEMPTED, Cause.CANCELLED)
REFUSALS = (LeaseLost, Conflict, Contended)
"""What an operation may answer when another was quicker."""


@dataclass(frozen=True)
class Owned:
    """An attempt that some worker believes to have."""

    key: str
    attempt: int


class Fleet(RuleBasedStateMachine):
    """A few connections that do everything to one graph."""

    url: str
    expire: Callable[[Database], None] = staticmethod(end_expired)
    counts: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.observer = Database(self.url)
        with self.observer.transaction() as session:
            session.execute(text("TRUNCATE experiment, stage, event, result, outbox, attempt CASCADE"))
            registry.add_generated(session)
        self.actors = [Actor(self.url, self.observer, f"actor {number}") for number in range(ACTORS)]
        self.owned: list[Owned] = []
        self.ids: list[str] = []
        self.renewed: set[Owned] = set()
        self.finished: dict[str, str] = {}
        self.counts["cases"] += 1

    def idle(self, number: int) -> Actor | None:
        """Return one of the actors that have nothing to do; where there is none, let a busy one go on."""
        found = [actor for actor in self.actors if actor.idle]
        if found:
            return found[number % len(found)]
        self.go_on(number, 4)
        return None

    def begin(self, actor: Actor, what: str, work: Callable[[Session], Any], then: Callable[[Any], None]) -> None:
        self.give(actor, what, lambda database: database.run(work), then)

    def give(self, actor: Actor, what: str, work: Callable[[Database], Any], then: Callable[[Any], None]) -> None:
        """Give an actor something to do; ``then`` hears what came of it, before any other actor goes on."""

        def run(database: Database) -> None:
            then(work(database))

        self.counts[what] += 1
        actor.begin(run)

    def reap(self) -> None:
        """Look at what has ended; whatever is raised but a refusal is a fault."""
        for actor in self.actors:
            if actor.done is not None and actor.done.done():
                try:
                    actor.result()
                except REFUSALS as error:
                    self.counts[type(error).__name__] += 1

    any_actor = st.integers(0, ACTORS - 1)

    @rule(number=any_actor, seeds=st.sets(st.integers(0, 2), min_size=1), priority=st.sampled_from((10, 50, 90)))
    def submit(self, number: int, seeds: set[int], priority: int) -> None:
        if (actor := self.idle(number)) is not None and len(self.ids) < 6:
            spec = small_spec(seeds=tuple(sorted(seeds)), priority=priority, resources={"timeout_hours": priority / 10})
            self.begin(
                actor,
                "submit",
                lambda session: submission.submit(session, spec, owner=f"{priority}", body_digest="").row.id,
                self.ids.append,
            )

    @rule(number=any_actor, lease=st.sampled_from((-1.0, FOREVER)))
    def claim(self, number: int, lease: float) -> None:
        def then(found: Any) -> None:
            if found is not None:
                self.owned.append(Owned(found.key, found.attempt))
                if lease > 0:
                    self.renewed.add(self.owned[-1])

        if (actor := self.idle(number)) is not None:
            name = actor.name
            self.begin(
                actor,
                "claim",
                lambda session: take(session, ("cpu", "gpu"), worker_id=name, device="cpu", lease_seconds=lease),
                then,
            )

    @rule(number=any_actor, which=st.integers(0, 99))
    def heartbeat(self, number: int, which: int) -> None:
        if (actor := self.idle(number)) is not None and self.owned:
            mine = self.owned[which % len(self.owned)]
            self.begin(
                actor,
                "heartbeat",
                lambda session: queue.heartbeat(session, mine.key, mine.attempt, FOREVER),
                lambda _: self.renewed.add(mine),
            )

    @rule(number=any_actor, which=st.integers(0, 99))
    def succeed(self, number: int, which: int) -> None:
        if (actor := self.idle(number)) is not None and self.owned:
            mine = self.owned[which % len(self.owned)]
            self.begin(
                actor,
                "succeed",
                lambda session: queue.succeed(session, mine.key, mine.attempt, summary={}, output="there", log=""),
                lambda _: None,
            )

    @rule(number=any_actor, which=st.integers(0, 99), cause=st.sampled_from(CAUSES))
    def fail(self, number: int, which: int, cause: Cause) -> None:
        if (actor := self.idle(number)) is not None and self.owned:
            mine = self.owned[which % len(self.owned)]
            self.renewed.discard(mine)  # whatever it ends as, it is the worker's word
            self.begin(
                actor,
                "fail",
                lambda session: queue.fail(session, mine.key, mine.attempt, cause=cause, message="as drawn"),
                lambda _: None,
            )

    @rule(number=any_actor)
    def sweep(self, number: int) -> None:
        if (actor := self.idle(number)) is not None:
            self.give(actor, "expire", self.expire, lambda _: None)

    @rule(number=any_actor, which=st.integers(0, 99), again=st.booleans())
    def cancel_or_retry(self, number: int, which: int, again: bool) -> None:
        if (actor := self.idle(number)) is not None and self.ids:
            experiment_id = self.ids[which % len(self.ids)]
            act = experiments.retry if again else experiments.cancel
            what = "retry" if again else "cancel"
            self.begin(actor, what, lambda session: act(session, experiment_id, LOCAL), lambda _: None)

    @rule(number=any_actor, statements=st.integers(1, 12))
    def go_on(self, number: int, statements: int) -> None:
        busy = [actor for actor in self.actors if not actor.idle]
        for _ in range(statements if busy else 0):
            busy[number % len(busy)].step()
        self.reap()

    @rule(number=any_actor)
    def finish(self, number: int) -> None:
        busy = [actor for actor in self.actors if not actor.idle]
        if busy:
            busy[number % len(busy)].finish()
        self.reap()

    @rule()
    def rest(self) -> None:
        """Let everything end, settle, and look at what must hold then."""
        for actor in self.actors:
            actor.set_free()
        for actor in self.actors:
            if actor.done is not None:
                actor.done.exception(120)
        self.reap()
        self.observer.run(graph.settle_leftovers)
        self.require(AT_REST)
        self.counts["rests"] += 1

    @invariant()
    def holds(self) -> None:
        self.require(ALWAYS)
        with self.observer.transaction() as session:
            lost = select(AttemptRow.stage_key, AttemptRow.number).where(AttemptRow.message.like("no heartbeat%"))
            expired = {Owned(key, number) for key, number in session.execute(lost)}
            assert not expired & self.renewed, "a renewed lease was expired"
            states = {row.key: row.state for row in session.scalars(select(StageRow))}
            ended = {row.id: row.state for row in session.scalars(select(ExperimentRow))}
        for key, state in self.finished.items():
            assert states[key] == state, f"stage {key[:8]} went from {state} to {states[key]}"
        self.finished |= {key: state for key, state in states.items() if state == "succeeded"}
        assert all(state != "succeeded" or self._all_succeeded(id_, states) for id_, state in ended.items())

    def _all_succeeded(self, experiment_id: str, states: dict[str, str]) -> bool:
        with self.observer.transaction() as session:
            return all(view.row.state == "succeeded" for view in experiments.stages(session, experiment_id))

    def require(self, queries: dict[str, Any]) -> None:
        self.counts["checks"] += len(queries)
        with self.observer.transaction() as session:
            found = {name: list(session.scalars(query)) for name, query in queries.items()}
        assert not any(found.values()), {name: keys for name, keys in found.items() if keys}

    def teardown(self) -> None:
        try:
            self.rest()
            self.holds()
        finally:
            for actor in self.actors:
                actor.close()
            self.observer.close()


def machine(url_: str, **attributes: Any) -> type[Fleet]:
    """Return a machine over a database, with counts of its own."""
    return type("Fleet", (Fleet,), {"url": url_, "counts": Counter(), **attributes})


def test_no_interleaving_breaks_an_invariant(database_url: str, record_property: Callable[[str, object], None]) -> None:
    fleet = machine(database_url)
    run_state_machine_as_test(fleet, settings=settings(max_examples=CASES, stateful_step_count=STEPS, deadline=None))
    print("state machine:", dict(fleet.counts))
    for name, count in fleet.counts.items():
        record_property(f"machine {name}", count)
    assert fleet.counts["cases"] >= CASES


def expire_as_before(database: Database) -> None:
    """The race as it was: what was picked without a lock is ended without another look."""
    with database.transaction() as session:
        found = queue.expired(session)
    with database.transaction() as session:
        for key, attempt in found:
            message = "no heartbeat from worker within its lease"
            queue.fail(session, key, attempt, cause=Cause.WORKER_LOST, message=message)


def test_it_finds_a_planted_race(database_url: str) -> None:
    fleet = machine(database_url, expire=staticmethod(expire_as_before))
    drawn = settings(max_examples=500, stateful_step_count=STEPS, deadline=None, phases=(Phase.generate,))
    with pytest.raises(AssertionError, match="a renewed lease was expired"):
        run_state_machine_as_test(fleet, settings=drawn)
    print("planted race found after", fleet.counts["cases"], "cases")
