"""A store and a data root with real files, and a worker that publishes what its stages would."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from services.cache.collection import Collected, Collector
from services.cache.inventory import Category, Entry
from services.db.engine import Database
from services.db.tables import StageRow
from services.queue import experiments
from services.queue.attempts import succeed
from services.queue.claim import Claim
from services.settings import Settings
from services.specs import ExperimentSpec
from services.stores.artifacts import ArtifactStore, open_store
from services.stores.folder import FolderStore
from tests.services.conftest import Decreed, decreed_summary, publish, submit

SIZES = {"index": 10, "flow": 500, "gpu_flow": 500, "extract": 100, "train": 40, "finetune": 60, "score": 7, "fuse": 3}
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Making(Decreed):
    """Publishes a file of a known size for each stage; flow is linked below the data root too, as real shards are."""

    def __init__(self, database: Database, store: ArtifactStore, folder: Path, data: Path) -> None:
        super().__init__(database)
        self.store, self.folder, self.data = store, folder, data

    def make(self, claim: Claim) -> None:
        output = self.folder / claim.key / str(claim.attempt)
        output.mkdir(parents=True)
        file = output / f"{claim.kind}.bin"
        file.write_bytes(claim.key[:1].encode() * SIZES[claim.kind])
        if claim.kind == "flow":
            address = self.data / "flow" / claim.key[:2] / f"{claim.key}.npy"
            address.parent.mkdir(parents=True, exist_ok=True)
            address.unlink(missing_ok=True)
            os.link(file, address)
        place = publish(self.store, output, claim.key, claim.attempt)
        file.unlink()  # as the worker drops its scratch folder
        with self.database.transaction() as session:
            succeed(
                session, claim.key, claim.attempt, summary=decreed_summary(claim), output=place, log="made", files=()
            )


class Watched:
    """A store at which something happens just before a folder is taken from it."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.before_take: Callable[[str], object] = lambda place: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def take(self, place: str) -> None:
        self.before_take(place)
        self._store.take(place)


class House:
    """A service's disk and database."""

    def __init__(self, database: Database, store: ArtifactStore, folder: Path) -> None:
        self.database, self.store, self.data = database, Watched(store), folder / "data"
        self.data.mkdir()
        self.worker = Making(database, store, folder / "made", self.data)
        self.collector = self.collector_with()

    def collector_with(self, grace_seconds: float = 3600, *, tracked: bool = False) -> Collector:
        return Collector(self.database, self.store, self.data, grace_seconds=grace_seconds, tracked=tracked)

    def submit(self, spec: ExperimentSpec) -> str:
        return submit(self.database, spec).row.id

    def run(self, *kinds: str) -> list[str]:
        """Run stages until none is ready, or until one of these kinds is claimed; return the labels in order."""
        labels = []
        while (claim := self.worker.claim_any()) is not None:
            labels.append(claim.label)
            if claim.kind in kinds:
                break
            self.worker.make(claim)
        return labels

    def gc(self, max_bytes: int = 0, kinds: Collection[Category] = (), **options: Any) -> Collected:
        return self.collector.collect(max_bytes, kinds, **options)

    def entries(self, kind: Category) -> list[Entry]:
        return [entry for entry in self.collector.take_stock().entries if entry.category == kind]

    def states(self, experiment_id: str) -> dict[str, str]:
        with self.database.transaction() as session:
            return {view.row.kind: view.row.state for view in experiments.stages(session, experiment_id)}

    def experiment(self, experiment_id: str) -> Any:
        with self.database.transaction() as session:
            return experiments.get(session, experiment_id)

    def row(self, kind: str) -> StageRow:
        with self.database.transaction() as session:
            return session.scalars(select(StageRow).where(StageRow.kind == kind)).one()

    def stage_files(self) -> dict[str, int]:
        return {file.path: file.bytes for file in self.store.survey()}


def set_stages(database: Database, condition: Any, **values: Any) -> None:
    with database.transaction() as session:
        session.execute(update(StageRow).where(condition).values(**values))


@pytest.fixture
def store(store_root: str, tmp_path: Path) -> ArtifactStore:
    return open_store(Settings(artifact_root=store_root, work_root=tmp_path))


@pytest.fixture
def house(database: Database, store: ArtifactStore, tmp_path: Path) -> House:
    return House(database, store, tmp_path)


@pytest.fixture
def local(database: Database, tmp_path: Path) -> House:
    """On a folder, where outputs and the data root share files."""
    return House(database, FolderStore(tmp_path / "store"), tmp_path)
