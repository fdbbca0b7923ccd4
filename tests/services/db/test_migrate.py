from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from services import api_keys, registry
from services.db.migrate import downgrade, upgrade
from services.db.tables import Base
from services.errors import Unavailable
from services.stages import KINDS


def differences(url: str) -> list[object]:
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        found = list(compare_metadata(context, Base.metadata))
    engine.dispose()
    return found


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_down_up_leaves_no_difference(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    assert differences(url) == []
    downgrade(url)
    assert tables(url) == {"alembic_version"}
    upgrade(url)
    assert differences(url) == []


def test_processes_that_start_together_migrate_once(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    threads = [threading.Thread(target=upgrade, args=(url,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert differences(url) == []


def test_a_server_that_is_away_is_named() -> None:
    with pytest.raises(Unavailable, match=r"Postgres at postgresql\+psycopg://u:\*\*\*@127\.0\.0\.1:1/none"):
        upgrade("postgresql+psycopg://u:secret@127.0.0.1:1/none")


def test_going_down_keeps_evicted_stages_as_ones_to_run_again(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    engine = create_engine(url)
    insert = "INSERT INTO stage (key, kind, params, label, queue, state, owner, timeout_seconds)"
    with engine.begin() as connection:
        connection.execute(text(f"{insert} VALUES ('k', 'flow', '{{}}', 'flow', 'cpu', 'evicted', 'local', 1)"))
    downgrade(url, "0001")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT state FROM stage")) == "cancelled"
    engine.dispose()


def test_keys_and_datasets_of_before_go_on(empty_database: Callable[[], str]) -> None:
    url = empty_database()
    upgrade(url)
    downgrade(url, "0003")
    engine = create_engine(url)
    with engine.begin() as connection:
        digest = hashlib.sha256(b"ts_old").hexdigest()
        connection.execute(text("INSERT INTO api_key (owner, digest) VALUES ('ana', :digest)"), {"digest": digest})
        connection.execute(text("INSERT INTO dataset (name, root) VALUES ('old', '/clips')"))
    upgrade(url)
    with Session(engine) as session, session.begin():
        found = api_keys.find(session, "ts_old")
        assert found is not None
        assert (found.state, found.caller.name, found.caller.administrator) == ("valid", "ana", False)
        assert found.caller.scopes == {"read", "submit", "datasets"}
        assert registry.get(session, "old").owner == "administrator"
        api_keys.issue(session, "eve", ["read"])
    downgrade(url, "0003")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT string_agg(owner, ',') FROM api_key")) == "ana"
    engine.dispose()


SPACED = {"kind": "spaced_features"}
FRAMES = {
    "stream": "flow", "backbone": {"name": "tiny", "weights": "none", "digest": None, "normalization": "tsn"},
    "feature": "pool", "flow_stack": 10, "flow": None, "first_seconds": 10.0,
}  # fmt: skip
LEARNED = {**FRAMES, "snippets": 3, "augmentation": True}
VIEWED = {"frames": 25, "positions": 4, "crops": "ten"}
SEEN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("train", {"snippet": None, "end_to_end": None}, SPACED),
    ("train", {"snippet": 30, "end_to_end": None}, {"kind": "snippets", "length": 30}),
    ("train", {"snippet": None, "end_to_end": LEARNED}, {**LEARNED, "kind": "frames"}),
    ("score", {"views": None, "end_to_end": None}, SPACED),
    (
        "score",
        {"views": {"frames": 25, "snippet": 30, "positions": 1, "crops": "center"}, "end_to_end": None},
        {"kind": "snippets", "length": 30, "count": 25},
    ),
    ("score", {"views": {**VIEWED, "snippet": None}, "end_to_end": LEARNED}, {**FRAMES, **VIEWED, "kind": "frames"}),
]
"""What a row said of a network's input before version 4 of `train` and `score`, and what it says since."""


@pytest.mark.parametrize(("kind", "before", "since"), SEEN)
def test_a_stage_planned_before_goes_on_with_the_same_input(
    empty_database: Callable[[], str], kind: str, before: dict[str, Any], since: dict[str, Any]
) -> None:
    url = empty_database()
    upgrade(url, "0008")
    own = {"training": {"epochs": 3}} if kind == "train" else {"average": "logits"}
    common = {"split": 1, "streams": ["flow"], "seed": 2, "model": {"kind": "tsn"}, **own}
    engine, insert = create_engine(url), "INSERT INTO stage (key, kind, params, label, queue, owner, timeout_seconds)"
    values = {"kind": kind, "params": json.dumps({**common, **before})}
    with engine.begin() as connection:
        connection.execute(text(f"{insert} VALUES ('k', :kind, :params, 'label', 'gpu', 'local', 1)"), values)
        connection.execute(text(f"{insert} VALUES ('other', 'fuse', '{{}}', 'label', 'cpu', 'local', 1)"))

    def rows() -> dict[str, dict[str, Any]]:
        with engine.begin() as connection:
            return dict(connection.execute(text("SELECT key, params FROM stage")).all())

    for _ in range(2):
        upgrade(url)
        assert rows() == {"k": {**common, "input": since}, "other": {}}
        assert KINDS[kind].params.model_validate(rows()["k"]).model_dump(mode="json")["input"] == since  # type: ignore[index]
        downgrade(url, "0008")
        scored = {"snippets": VIEWED["frames"], "augmentation": False} if kind == "score" else {}
        lost = {"end_to_end": {**LEARNED, **scored}} if before["end_to_end"] else {}  # no test reads them
        assert rows() == {"k": {**common, **before, **lost}, "other": {}}
    engine.dispose()
