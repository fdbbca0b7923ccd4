"""A database with sessions, and a worker that runs stages by decree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services import registry
from services.db.engine import Database
from services.errors import Cause
from services.planning import submission
from services.queue import attempts, experiments, workers
from services.queue.claim import Claim
from services.queue.claim import claim as take
from services.specs import BackboneSpec, ExperimentSpec
from services.stores.artifacts import ArtifactStore
from services.stores.files import finished_files
from services.stores.objects import ObjectStore
from tests.databases import opened


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database with the generated dataset registered."""
    database = opened(database_url)
    with database.transaction() as session:
        registry.add_generated(session)
    yield database
    database.close()


def publish(store: ArtifactStore, folder: Path, key: str, attempt: int, name: str = "output") -> str:
    """Publish a whole folder, and return its place."""
    return store.add(folder, [*finished_files(folder)], key, attempt, name)


class EndpointLost(Exception):
    """An error as object stores' libraries have them: no ``OSError``."""


class Away:
    """Stands before a store's file system, and is away for as many calls as ``calls`` says."""

    def __init__(self, store: ObjectStore, calls: int) -> None:
        self.files, self.calls = store._files, calls
        store._files = self

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **options: Any) -> Any:
            if self.calls > 0:
                self.calls -= 1
                raise EndpointLost("no route to the bucket")
            return getattr(self.files, name)(*arguments, **options)

        return ask


def small_spec(**changes: Any) -> ExperimentSpec:
    """A spec with a short plan: one split, one stream, no fine-tuning: index, extract, train, score, fuse."""
    values: dict[str, Any] = {
        "name": "small",
        "dataset": "motion_shapes",
        "splits": (1,),
        "streams": ("rgb",),
        "backbone": BackboneSpec(name="tiny", finetune=None),
    }
    return ExperimentSpec(**(values | changes))


def submit(database: Database, spec: ExperimentSpec, **options: Any) -> submission.Submitted:
    """Create an experiment as the API does."""
    seen = registry.look_again(database, spec.dataset)
    with database.transaction() as session:
        return submission.submit(session, spec, **({"owner": "local", "body_digest": "0" * 64, "seen": seen} | options))


class Decreed:
    """A worker that claims real stages and ends them as it is told, without computing anything."""

    def __init__(self, database: Database, worker_id: str = "decreed") -> None:
        self.database, self.worker_id = database, worker_id

    def claim(self, *queues: str, lease_seconds: float = 30) -> Claim | None:
        with self.database.transaction() as session:
            return take(session, queues, worker_id=self.worker_id, device="cpu", lease_seconds=lease_seconds)

    def claim_any(self) -> Claim | None:
        return self.claim("cpu", "gpu")

    def succeed(self, claim: Claim, **summary: Any) -> dict[str, int]:
        with self.database.transaction() as session:
            return attempts.succeed(
                session,
                claim.key,
                claim.attempt,
                summary=summary or decreed_summary(claim),
                output=f"stages/{claim.key}/{claim.attempt}/output",
                log="done",
            )

    def fail(self, claim: Claim, cause: Cause, message: str = "as decreed") -> dict[str, int]:
        with self.database.transaction() as session:
            return attempts.fail(session, claim.key, claim.attempt, cause=cause, message=message)

    def run_all(self, on: Callable[[Claim], object] | None = None) -> list[str]:
        """Run stages until none is ready; return the labels in order."""
        labels = []
        while (claim := self.claim_any()) is not None:
            labels.append(claim.label)
            if on is not None:
                on(claim)
            else:
                self.succeed(claim)
        return labels


def decreed_summary(claim: Claim) -> dict[str, Any]:
    """The summary of a stage; that of `fuse` has results."""
    if claim.kind != "fuse":
        return {"made": claim.kind}
    streams = list(claim.params["weights"])
    if len(streams) > 1:
        streams.append("two-stream")
    return {"results": [result(stream, claim.params["split"], claim.params["seed"]) for stream in streams]}


def result(stream: str, split: int, seed: int, top1: float = 0.5, clips: int = 100) -> dict[str, Any]:
    """One entry of a `fuse` stage's results."""
    metrics = {"top1": top1, "top5": 1.0, "mean_class": top1, "correct": int(top1 * clips), "clips": clips}
    return {"stream": stream, "split": split, "seed": seed, "metrics": metrics}


def state_of(database: Database, experiment_id: str) -> str:
    with database.transaction() as session:
        return experiments.get(session, experiment_id).state


def stage_states(database: Database, experiment_id: str) -> dict[str, str]:
    with database.transaction() as session:
        return {view.row.kind: view.row.state for view in experiments.stages(session, experiment_id)}


def report(database: Database, worker_id: str, queues: tuple[str, ...] = ("cpu",), draining: str | None = None) -> None:
    database.run(
        lambda session: workers.report(
            session, worker_id, queues=queues, devices=["cpu"], concurrency=1, draining=draining
        )
    )


def write_lists(folder: Path, test: tuple[str, ...] = ("Hop/c.avi", "Run/c.avi"), split: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "classInd.txt").write_text("1 Run\n2 Hop\n")
    (folder / f"trainlist{split:02d}.txt").write_text("Run/a.avi 1\nHop/a.avi 2\nRun/b.avi 1\n")
    (folder / f"testlist{split:02d}.txt").write_text("".join(f"{name}\n" for name in test))
    return folder


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return write_lists(tmp_path / "lists")
