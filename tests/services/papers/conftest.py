"""A database with both papers' datasets registered, and score files of the systems that are computed elsewhere."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from services import registry
from services.datasets.layouts import Layout
from services.db.engine import Database
from services.db.tables import ScoreUploadRow, StageRow

DATASETS: dict[str, Layout] = {"ucf101": "ucf101", "hmdb51": "hmdb51"}


@pytest.fixture
def registered(database: Database) -> Database:
    """A database in which UCF101 and HMDB51 have three splits each, of which this host has no files."""
    with database.transaction() as session:
        for name, layout in DATASETS.items():
            registry.add(session, name=name, root=f"/{name}", annotations=f"/{name}/lists", layout=layout)
    return database


@pytest.fixture
def brought(registered: Database) -> Database:
    """The same, with the scores of iDT and Objects on every split."""
    with registered.transaction() as session:
        for dataset in DATASETS:
            for split in (1, 2, 3):
                for number, name in enumerate(("iDT(FV)", "iDT(SFV)", "Objects")):
                    key = f"{dataset == 'ucf101':d}{split}{number}".ljust(64, "0")
                    params = {"uploaded": key, "dataset": dataset, "split": split, "streams": ["rgb", "flow"]}
                    stage = {"key": key, "kind": "score", "params": params, "label": name, "queue": "cpu"}
                    stage |= {"state": "succeeded", "owner": "local", "timeout_seconds": 0}
                    session.execute(insert(StageRow).values(stage))
                    row = {"id": key, "name": name, "owner": "local", "dataset": dataset, "revision": 1}
                    row |= {"split": split, "stream": "two-stream", "kind": "logits", "clips": 1, "classes": 1}
                    session.execute(insert(ScoreUploadRow).values(row))
    return registered
