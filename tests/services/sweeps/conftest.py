"""Sweeps through the real queue and Optuna's real storage; only what stages compute is decreed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.db.engine import Database
from services.queue import attempts
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.specs.sweep import SweepSpec
from services.stores.broker import Broker
from services.sweeps import space, sweeps
from services.sweeps.study import Storage
from services.sweeps.turn import Turn
from tests.services.conftest import Decreed

SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": "motion_shapes",
    "splits": [1, 2],
    "streams": ["rgb"],
    "seeds": [0],
    "backbone": {"name": "tiny", "finetune": None},
    "training": {"epochs": 4},
}
RATE = "training.optimizer.learning_rate"
SPACE: dict[str, Any] = {
    RATE: {"low": 1e-4, "high": 1e-1, "log": True},
    "model.segments": {"choices": [1, 3, 5]},
}
Accuracy = Callable[[Claim, int], float]


def sweep_of(**changes: Any) -> SweepSpec:
    values = {"experiment": SMALL, "space": SPACE, "budget": {"trials": 6}, "pruner": {"kind": "none"}} | changes
    return SweepSpec.model_validate(values)


def begin(database: Database, sweep: SweepSpec, **options: Any) -> str:
    """Begin a sweep as the API does."""
    opened = space.opened(sweep)
    with database.transaction() as session:
        made = sweeps.begin(session, sweep, opened, **({"owner": "ana", "body_digest": "0" * 64} | options))
    return made.row.id


def by_rate(claim: Claim, epoch: int) -> float:
    """An accuracy that is best at a rate of 0.01 and with three segments, and rises by epoch."""
    rate, segments = claim.params["training"]["optimizer"]["learning_rate"], claim.params["model"]["segments"]
    return max(0.0, 0.9 - 0.1 * abs(math.log10(rate) + 2) - 0.05 * abs(segments - 3) - 0.2 / epoch)


class Trainer(Decreed):
    """A worker whose trainings report an accuracy after each epoch."""

    def __init__(self, database: Database, accuracy: Accuracy = by_rate, metric: str = "validation_accuracy") -> None:
        super().__init__(database)
        self.accuracy, self.metric = accuracy, metric
        self.labels: list[str] = []

    def learn(self, claim: Claim, epochs: range) -> None:
        """Report some epochs of a training."""
        values = ({"step": epoch, "values": {self.metric: self.accuracy(claim, epoch)}} for epoch in epochs)
        facts = [Fact("metrics", each["step"], each) for each in values]
        with self.database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, facts)

    def end(self, claim: Claim) -> None:
        """Finish a stage; a training with all of its epochs."""
        self.labels.append(claim.label)
        if claim.kind != "train":
            self.succeed(claim)
            return
        epochs = range(1, claim.params["training"]["epochs"] + 1)
        self.learn(claim, epochs)
        kept = max(self.accuracy(claim, epoch) for epoch in epochs)
        self.succeed(claim, **{self.metric: kept})

    def work(self) -> None:
        """Finish all that can be."""
        self.run_all(self.end)


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    broker = Broker(redis_url)
    yield broker
    broker.close()


@pytest.fixture
def storage(database: Database) -> Iterator[Storage]:
    storage = Storage(database)
    yield storage
    storage.close()


@pytest.fixture
def turn(database: Database, broker: Broker, storage: Storage) -> Callable[[str], None]:
    """Take a turn of a sweep."""
    return lambda sweep_id: Turn(database, broker, storage, sweep_id).take()


def conduct(database: Database, turn: Callable[[str], None], sweep_id: str, trainer: Trainer) -> sweeps.View:
    """Take turns, with all work done in between, until a sweep has ended."""
    for _ in range(100):
        turn(sweep_id)
        trainer.work()
        with database.transaction() as session:
            found = sweeps.view(session, sweep_id)
        if found.row.state not in sweeps.LIVE:
            return found
    pytest.fail(f"sweep {sweep_id} does not end: {found.row.state}, {found.counts}")
