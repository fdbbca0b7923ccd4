"""Collecting: what was unused for longest goes first, until the rest fits; what a stage needs stays.

A stage's output goes in two steps. Its row is locked, asked once more whether anybody needs it, and becomes `evicted`;
that is committed. Only then do the files go. A submission locks the rows of its plan too, so that it either finds the
output there, and the collection finds it needed, or finds it evicted and has it made again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from services.cache.facts import FLOW, why_held
from services.cache.inventory import (
    BY_DEFAULT,
    Category,
    Entry,
    Identity,
    Inventory,
    Stocktaker,
    generated_folder,
    only,
)
from services.db.engine import Database
from services.db.locks import Hold, held
from services.db.tables import OutboxRow, StageRow
from services.errors import Conflict
from services.journal import events
from services.queue import graph
from services.stores.artifacts import ArtifactStore
from services.stores.files import empty_trash, trash
from services.stores.names import STATE, Place

ADVISORY_LOCK = 7_205_759_403_792_797
"""Held by the collection that is at work; any fixed number that nothing else uses."""
STOCK_SECONDS = 3600.0
"""Longer than a look at every file of a large store takes."""
MESSAGE = "its output was dropped from the cache; it is made again when a stage needs it"


@dataclass(frozen=True)
class Collected:
    """What a collection has dropped, or would.

    Attributes:
        before: bytes of the categories that were asked for, before it.
        after: and after it.
        taken: entries that are gone, in the order in which they went.
        more: whether the time was up before all was taken that should be.
    """

    before: int
    after: int
    taken: tuple[Entry, ...]
    more: bool = False


class Collector:
    """Drops entries.

    Args:
        database: who needs what.
        store: outputs and checkpoints.
        data_root: generated datasets and clip files.
        grace_seconds: age that files without a stage must have.
        tracked: whether outputs are sent to MLflow too.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, data_root: Path, *, grace_seconds: float, tracked: bool
    ) -> None:
        self._database, self._store, self._data_root, self._tracked = database, store, data_root, tracked
        self._stocktaker = Stocktaker(database, store, data_root, grace_seconds=grace_seconds, tracked=tracked)

    def take_stock(self) -> Inventory:
        """Return all that is there; see ``Stocktaker``."""
        return self._stocktaker.take_stock()

    def collect(
        self,
        max_bytes: int,
        categories: Collection[Category] = (),
        *,
        dry_run: bool = False,
        seconds: float = float("inf"),
    ) -> Collected:
        """Drop what was unused for longest until the rest takes no more than ``max_bytes``, or nothing more may go.

        Args:
            max_bytes: bound of all that is counted, or of the categories that are named.
            categories: to take from; those of `BY_DEFAULT` when none is named.
            dry_run: change nothing.
            seconds: time after which to stop between two entries.

        Raises:
            Conflict: another collection is at work.
            Unavailable: Postgres or the store is away; what was dropped is dropped.
        """
        if dry_run:
            return self._collect(max_bytes, categories, None, deadline=float("inf"))
        with held(self._database, ADVISORY_LOCK, STOCK_SECONDS) as hold:
            if not hold:
                raise Conflict("another collection of the cache is at work; hint: try again when it has ended")
            self._store.empty_trash()
            empty_trash(self._data_root)
            return self._collect(max_bytes, categories, hold, deadline=time.monotonic() + seconds)

    def _collect(
        self, max_bytes: int, categories: Collection[Category], hold: Hold | None, *, deadline: float
    ) -> Collected:
        """Collect while a lock is held; without one, say what would go."""
        dry_run = hold is None
        inventory = self.take_stock()
        covered = only(inventory, categories) if categories else inventory
        left = BytesLeft(covered.entries)
        before, taken = left.bytes, list[Entry]()
        for entry in candidates(covered, categories or BY_DEFAULT):
            if left.bytes <= max_bytes:
                break
            if taken and time.monotonic() > deadline:
                return Collected(before, left.bytes, tuple(taken), more=True)
            if hold is not None:
                hold.keep()
                if not self._take(entry):
                    continue
            taken.append(entry)
            for identity in left.drop(entry):
                for name in () if dry_run else inventory.further_names.get(identity, ()):
                    (self._data_root / name).unlink(missing_ok=True)
        return Collected(before, left.bytes, tuple(taken))

    def _take(self, entry: Entry) -> bool:
        """Take an entry unless it is needed by now; return whether it is gone."""
        if entry.loose:
            return self._take_clip(entry)
        if not self._database.run(
            lambda session: self._evict(session, entry) if entry.stages else _disown(session, entry)
        ):
            return False
        for place in entry.places:
            self._store.take(place)
        for path in entry.paths:
            self._take_generated(path)
        return True

    def _evict(self, session: Session, entry: Entry) -> bool:
        """Write that the outputs of an entry are no more; False when one of them is needed after all."""
        rows = graph.lock_stages(session, entry.stages)
        there = all(row.state == "succeeded" and row.output in entry.places for row in rows.values())
        if not there or why_held(session, entry.stages, tracked=self._tracked):
            return False
        for row in rows.values():
            row.state, row.output, row.message = "evicted", None, MESSAGE
            events.tell(session, "stage.evicted", stage_key=row.key, attempt=row.attempt, message=MESSAGE)
        pending = (
            OutboxRow.stage_key.in_(entry.stages),
            OutboxRow.kind == "artifact",
            OutboxRow.delivered_at.is_(None),
        )
        session.execute(update(OutboxRow).where(*pending).values(delivered_at=func.clock_timestamp(), error=MESSAGE))
        return True

    def _take_clip(self, entry: Entry) -> bool:
        """Take the file of one clip, unless a stage has linked or touched it since."""
        if entry.category == "flow":
            with self._database.transaction() as session:
                waiting = select(StageRow.key).where(StageRow.kind.in_(FLOW), StageRow.state.in_(graph.UNFINISHED))
                if session.scalar(waiting.limit(1)) is not None:
                    return False
        (file,), path = entry.files, self._data_root / entry.paths[0]
        try:
            facts = path.stat()
        except FileNotFoundError:
            return True
        if facts.st_nlink > 1 or facts.st_mtime != file.modified_at:
            return False
        path.unlink(missing_ok=True)
        return True

    def _take_generated(self, name: str) -> None:
        """Take generated clips, while no stage can be written that would read them."""
        with self._database.transaction() as session:
            session.execute(text("LOCK TABLE stage IN SHARE ROW EXCLUSIVE MODE"))
            query = select(StageRow).where(
                StageRow.kind == "index", StageRow.state.in_((*graph.UNFINISHED, "succeeded"))
            )
            if all(generated_folder(row.kind, row.params) != name for row in session.scalars(query)):
                trash(self._data_root / name, self._data_root)
        empty_trash(self._data_root)


class BytesLeft:
    """The bytes that are left while entries go; a file that several have is there until the last of them goes."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._sizes = {file.identity: file.bytes for entry in entries for file in entry.files}
        self._owners = Counter(identity for entry in entries for identity in _identities(entry))
        self.bytes = sum(self._sizes.values())

    def drop(self, entry: Entry) -> list[Identity]:
        """Count an entry out and return the files that nobody has any more."""
        identities = _identities(entry)
        self._owners.subtract(identities)
        gone = [identity for identity in identities if not self._owners[identity]]
        self.bytes -= sum(self._sizes[identity] for identity in gone)
        return gone


def candidates(inventory: Inventory, categories: Collection[Category]) -> Iterator[Entry]:
    """Yield what may go, unused for longest first; not what frees nothing, its files being those of one that stays."""
    stays = [entry for entry in inventory.entries if entry.held or entry.category not in categories]
    kept = {identity for entry in stays for identity in _identities(entry)}
    for entry in inventory.entries:
        if not entry.held and entry.category in categories and not _identities(entry) <= kept:
            yield entry


def _identities(entry: Entry) -> set[Identity]:
    return {file.identity for file in entry.files}


def _disown(session: Session, entry: Entry) -> bool:
    """Write that there is no state to go on from; False when the stage has come to need it."""
    place = Place.of(entry.key)
    if place is None:
        return True
    row = graph.lock_stages(session, [place.key]).get(place.key)
    if row is None:
        return True
    if row.state in graph.UNFINISHED or row.output == entry.key:
        return False
    if place.name == STATE:
        row.state_dropped_at_attempt = max(row.state_dropped_at_attempt, place.attempt)
    return True
