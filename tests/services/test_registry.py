"""What is known of a dataset: its lists, its splits, and its revision after a change of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from services import registry
from services.db.engine import Database
from services.db.tables import DatasetRow
from services.errors import Conflict, InvalidRequest
from tests.services.conftest import Decreed, small_spec, submit, write_lists
from tests.services.registered import NAME, measure, register


def test_a_refresh_registers_what_changed_and_only_that(database: Database, lists: Path) -> None:
    register(database, lists)
    measure(database, 0.9)
    for _ in range(2):
        registry.refresh(database, NAME)
        with database.transaction() as session:
            assert registry.get(session, NAME).revision == 1
    write_lists(lists, test=("Run/c.avi",))
    for _ in range(2):
        registry.refresh(database, NAME)
        with database.transaction() as session:
            assert registry.get(session, NAME).revision == 2
    assert {row.revision for row in measure(database, 0.4)} == {2}


def test_a_refresh_refuses_lists_that_lack_what_was_registered(database: Database, lists: Path) -> None:
    register(database, write_lists(lists, split=2), splits=[1, 2], exclude=["Run/b.avi"])
    (lists / "trainlist02.txt").unlink()
    (lists / "testlist02.txt").unlink()
    with pytest.raises(InvalidRequest, match=r"splits: got \[1, 2\], allowed: splits that have lists: 1"):
        registry.refresh(database, NAME)
    write_lists(lists, split=2)
    for split in (1, 2):
        (lists / f"trainlist{split:02d}.txt").write_text("Run/a.avi 1\nHop/a.avi 2\n")
    with pytest.raises(InvalidRequest, match=r"exclude\.0: got 'Run/b\.avi'"):
        registry.refresh(database, NAME)


def test_lists_that_nobody_has_read_are_taken_for_unchanged_until_then(database: Database, lists: Path) -> None:
    hidden = lists.with_name("hidden")
    register(database, hidden, splits=[1])
    submit(database, small_spec(dataset=NAME))
    lists.rename(hidden)
    submit(database, small_spec(dataset=NAME))
    with database.transaction() as session:
        registry.note_lists(session)  # as the API does when it starts
    write_lists(hidden, test=("Run/c.avi",))
    with pytest.raises(Conflict, match="have changed"):
        submit(database, small_spec(dataset=NAME))


def test_the_index_checks_the_splits_that_were_registered(database: Database, lists: Path) -> None:
    """A host that does not see the lists takes any splits; the `index` stage is told to look for them first."""
    register(database, lists.with_name("unseen"), splits=[1, 3])
    submit(database, small_spec(dataset=NAME))
    claim = Decreed(database).claim_any()
    assert claim is not None
    assert claim.params["splits"] == [1, 3]


def test_a_dataset_of_an_earlier_version_goes_on_though_a_split_has_no_lists(database: Database, lists: Path) -> None:
    with database.transaction() as session:
        session.add(DatasetRow(name=NAME, root="/clips", annotations=str(lists)))
    with database.transaction() as session:
        registry.note_lists(session)
    submit(database, small_spec(dataset=NAME))
    claim = Decreed(database).claim_any()
    assert claim is not None
    assert claim.params["splits"] == []
