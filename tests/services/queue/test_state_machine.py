"""Claim, heartbeat, expire, fail, succeed, cancel, retry and submit, interleaved in any way over several connections.

Hypothesis draws what each connection does and which of them goes on by one statement. ``MACHINE_CASES`` says
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
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, text

from services import registry
from services.api_keys import LOCAL
from services.db.engine import Database, Session
from services.db.tables import AttemptRow, ExperimentRow, StageRow
from services.errors import Cause, Conflict, Contended, LeaseLost
from services.planning import submission
from services.queue import attempts, experiments, graph
from services.queue.claim import Claim
from services.queue.claim import claim as take
from services.queue.housekeeping import end_expired
from services.specs import ExperimentSpec
from tests.services.actors import Actor
from tests.services.conftest import small_spec
from tests.services.invariants import ALWAYS, AT_REST

CASES = int(os.environ.get("MACHINE_CASES", "6"))
STEPS = 60
BETWEEN_RESTS = 10
ACTORS = 3
MOST_EXPERIMENTS = 6
FOREVER = 3600.0
CAUSES = (Cause.DATA_ERROR, Cause.INTERNAL, Cause.WORKER_LOST, Cause.PREEMPTED, Cause.CANCELLED)
REFUSALS = (LeaseLost, Conflict, Contended)
"""What an operation may answer when another was quicker."""


@dataclass(frozen=True)
class Who:
    """Which actor does something, and whether it ends before any other goes on, unless it waits for a lock."""

    number: int
    at_once: bool


@dataclass(frozen=True)
class Owned:
    """An attempt that some worker believes to have."""

    key: str
    attempt: int


class Fleet(RuleBasedStateMachine):
    """A few connections that do everything to one graph.

    Which rules may be drawn never depends on what the connections have reached: when they reach it is not Hypothesis's
    to say. A rule that finds nothing to do does nothing, or what comes before it.
    """

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
        self.steps = 0
        self.counts["cases"] += 1

    @initialize()
    def begin_with_several_that_are_ready(self) -> None:
        """Submit an experiment, and end its index and features, so that a stage is ready for each of its seeds."""
        spec = small_spec(seeds=(0, 1, 2))
        self.ids.append(self.observer.run(lambda session: _submit(session, spec, "50")))
        for _ in range(2):
            self.observer.run(_take_and_succeed)

    def begin(self, who: Who, what: str, work: Callable[[Session], Any], then: Callable[[Any], None]) -> None:
        self.give(who, what, lambda database: database.run(work), then)

    def give(self, who: Who, what: str, work: Callable[[Database], Any], then: Callable[[Any], None]) -> None:
        """Give an actor something to do; ``then`` hears what came of it, before any other actor goes on.

        Where none has nothing to do, a busy one goes on.
        """
        idle = [actor for actor in self.actors if actor.idle]
        if not idle:
            self.go_on(who.number, 4)
            return

        def run(database: Database) -> None:
            then(work(database))

        self.counts[what] += 1
        actor = idle[who.number % len(idle)]
        actor.begin(run)
        if who.at_once:
            actor.finish()
            self.reap()

    def reap(self) -> None:
        """Look at what has ended; whatever is raised but a refusal is a fault."""
        for actor in self.actors:
            if actor.done is not None and actor.done.done():
                try:
                    actor.result()
                except REFUSALS as error:
                    self.counts[type(error).__name__] += 1

    any_actor = st.integers(0, ACTORS - 1)
    anyone = st.builds(Who, any_actor, st.booleans())
    lately = st.integers(0, 2)

    @rule(who=anyone, seeds=st.sets(st.integers(0, 2), min_size=1), priority=st.sampled_from((10, 50, 90)))
    def submit(self, who: Who, seeds: set[int], priority: int) -> None:
        if len(self.ids) >= MOST_EXPERIMENTS:
            return
        spec = small_spec(seeds=tuple(sorted(seeds)), priority=priority, resources={"timeout_hours": priority / 10})
        self.begin(
            who,
            "submit",
            lambda session: _submit(session, spec, f"{priority}"),
            self.ids.append,
        )

    @rule(who=anyone, lease=st.sampled_from((-1.0, -1.0, FOREVER)))
    def claim(self, who: Who, lease: float) -> None:
        self.take(who, lease)

    def take(self, who: Who, lease: float) -> None:
        def then(found: Any) -> None:
            if found is not None:
                self.owned.append(Owned(found.key, found.attempt))
                if lease > 0:
                    self.renewed.add(self.owned[-1])

        name = f"worker {who.number}"
        self.begin(
            who,
            "claim",
            lambda session: _take(session, name, lease),
            then,
        )

    @rule(who=anyone, which=lately)
    def heartbeat(self, who: Who, which: int) -> None:
        if not self.owned:
            self.take(who, -1.0)
            return
        mine = self.owned[-1 - which % len(self.owned)]
        self.begin(
            who,
            "heartbeat",
            lambda session: attempts.heartbeat(session, mine.key, mine.attempt, FOREVER),
            lambda _: self.renewed.add(mine),
        )

    @rule(who=anyone, which=lately)
    def succeed(self, who: Who, which: int) -> None:
        if not self.owned:
            self.take(who, -1.0)
            return
        mine = self.owned[-1 - which % len(self.owned)]
        self.begin(
            who,
            "succeed",
            lambda session: _succeed(session, mine),
            lambda _: None,
        )

    @rule(who=anyone, which=lately, cause=st.sampled_from(CAUSES))
    def fail(self, who: Who, which: int, cause: Cause) -> None:
        if not self.owned:
            self.take(who, -1.0)
            return
        mine = self.owned[-1 - which % len(self.owned)]
        self.renewed.discard(mine)  # whatever it ends as, it is the worker's word
        self.begin(
            who,
            "fail",
            lambda session: attempts.fail(session, mine.key, mine.attempt, cause=cause, message="as drawn"),
            lambda _: None,
        )

    @rule(who=anyone)
    def sweep(self, who: Who) -> None:
        self.give(who, "expire", self.expire, lambda _: None)

    @rule(who=anyone, which=lately, again=st.booleans())
    def cancel_or_retry(self, who: Who, which: int, again: bool) -> None:
        experiment_id = self.ids[which % len(self.ids)]
        act = experiments.retry if again else experiments.cancel
        what = "retry" if again else "cancel"
        self.begin(who, what, lambda session: act(session, experiment_id, LOCAL), lambda _: None)

    @rule(number=any_actor, statements=st.sampled_from((1, 1, 2, 3, 12)))
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

    @precondition(lambda self: self.steps >= BETWEEN_RESTS)
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
        self.steps = 0

    @invariant()
    def holds(self) -> None:
        self.steps += 1
        self.require(ALWAYS)
        with self.observer.transaction() as session:
            lost = select(AttemptRow.stage_key, AttemptRow.number).where(AttemptRow.message.like("no heartbeat%"))
            expired = {Owned(key, number) for key, number in session.execute(lost)}
            self.counts["renewed leases expired"] += len(expired & self.renewed)
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


def _submit(session: Session, spec: ExperimentSpec, owner: str) -> str:
    return submission.submit(session, spec, owner=owner, body_digest="").row.id


def _take(session: Session, worker_id: str, lease_seconds: float) -> Claim | None:
    return take(session, ("cpu", "gpu"), worker_id=worker_id, device="cpu", lease_seconds=lease_seconds)


def _take_and_succeed(session: Session) -> None:
    claim = _take(session, "first", FOREVER)
    assert claim is not None
    _succeed(session, Owned(claim.key, claim.attempt))


def _succeed(session: Session, owned: Owned) -> object:
    return attempts.succeed(session, owned.key, owned.attempt, summary={}, output="there", log="")


def machine(url_: str, **attributes: Any) -> type[Fleet]:
    """Return a machine over a database, with counts of its own."""
    return type("Fleet", (Fleet,), {"url": url_, "counts": Counter(), **attributes})


@pytest.mark.parametrize("cases", [CASES, pytest.param(8 * CASES, marks=pytest.mark.long)])
def test_no_interleaving_breaks_an_invariant(
    database_url: str, record_property: Callable[[str, object], None], cases: int
) -> None:
    fleet = machine(database_url)
    run_state_machine_as_test(fleet, settings=settings(max_examples=cases, stateful_step_count=STEPS, deadline=None))
    print("state machine:", dict(fleet.counts))
    for name, count in fleet.counts.items():
        record_property(f"machine {name}", count)
    assert fleet.counts["cases"] >= cases


def expire_as_before(database: Database) -> None:
    """The race as it was: what was picked without a lock is ended without another look."""
    with database.transaction() as session:
        found = attempts.expired(session)
    with database.transaction() as session:
        for key, attempt in found:
            message = "no heartbeat from worker within its lease"
            attempts.fail(session, key, attempt, cause=Cause.WORKER_LOST, message=message)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_finds_a_planted_race(database_url: str) -> None:
    others = dict.fromkeys(("submit", "succeed", "fail", "cancel_or_retry"))  # rare are races among many things
    fleet = machine(database_url, expire=staticmethod(expire_as_before), **others)
    drawn = settings(
        derandomize=True, max_examples=500, stateful_step_count=STEPS, deadline=None, phases=(Phase.generate,)
    )
    with pytest.raises((AssertionError, Flaky)):  # flaky where the clock decides whether a case is met again
        run_state_machine_as_test(fleet, settings=drawn)
    assert fleet.counts["renewed leases expired"]
    print("planted race found after", fleet.counts["cases"], "cases")
