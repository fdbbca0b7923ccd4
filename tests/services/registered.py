"""A dataset of two classes, registered by its lists, and a worker that ends its `index` stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services import registry
from services.board import results
from services.datasets.lists import read_lists
from services.db.engine import Database
from services.db.tables import ResultRow
from services.queue.claim import Claim
from tests.services.conftest import Decreed, result, small_spec, submit

NAME = "mine"


def register(database: Database, lists: Path, **options: Any) -> int:
    """Register a dataset as the API does, and return its revision."""
    seen = registry.look("ucf101", str(lists), options.get("exclude", ()))
    with database.transaction() as session:
        return registry.add(session, name=NAME, root="/clips", annotations=str(lists), lists=seen, **options).revision


class Indexer(Decreed):
    """Ends `index` stages as the real one does, by the lists that are there, with clips of some content."""

    def __init__(self, database: Database, clips: str = "c", rate: float = 0.5) -> None:
        super().__init__(database)
        self.clips, self.rate = clips, rate

    def run(self) -> list[str]:
        return self.run_all(self.end)

    def end(self, claim: Claim) -> None:
        if claim.kind == "index":
            found = read_lists("ucf101", claim.params["annotations"], claim.params["exclude"])
            assert found is not None
            shared = [{str(s): p for s, p in places.items()} for places in found.annotations.shared_test_clips()]
            tested = [clip.id for split in found.annotations.splits.values() for clip in split.test]
            digest = f"{self.clips} {tested}"[:64]
            self.succeed(claim, lists=found.digest, digest=digest, shared=shared, classes=2, clips=5)
        elif claim.kind == "fuse":
            self.succeed(claim, results=[result("rgb", claim.params["split"], 0, self.rate)])
        else:
            self.succeed(claim)


def measure(database: Database, rate: float, clips: str = "c", **changes: Any) -> list[ResultRow]:
    row = submit(database, small_spec(dataset=NAME, **changes)).row
    Indexer(database, clips, rate).run()
    with database.transaction() as session:
        return [found.row for found in results.listing(session, row.id)]
