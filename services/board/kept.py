"""What a process keeps of boards between two answers: entries, their number, and tests of pairs, until they change.

Each dataset counts the changes of its boards (`BoardVersionRow.number`), and of each experiment the last one is known
that was its own. What was read at one number is true at another if its experiment has not changed since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.board.groups import Tests
from services.board.hits import Hits
from services.board.tally import Tally
from services.board.withdrawal import Withdrawn

MOST_BOARDS = 32
"""Of some 2 MB each, those asked for last."""
MOST_ENTRIES, MOST_HITS = 3000, 1000
"""Of a board; those that no page shows any more are dropped with all others."""
MOST_CHANGED = 1000
CHANGES = text("""
SELECT number, whole, changed.ids AS changed, changed.withdrawn FROM board_version CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(id), '{}') AS ids, coalesce(bool_or(withdrawn), false) AS withdrawn FROM (
        SELECT result.id, result.withdrawn FROM board_change
        JOIN result ON result.experiment_id = board_change.experiment_id
        WHERE board_change.dataset = :dataset AND board_change.number > :number AND stream = :stream LIMIT :most
    ) AS found
) AS changed
WHERE dataset = :dataset
""")
"""The results of a stream that have changed since; what is gone is not among them, but changes a dataset as a whole."""

T = TypeVar("T")


class Section(NamedTuple):
    """Places of a board among which groups are formed: ids and merits of their entries, and the rank of each leader."""

    order: list[tuple[int, float]]
    groups: dict[int, int]
    tests: Tests


@dataclass
class Kept:
    """Of one board, as of a number; ``once`` is what is true until anything of the board changes.

    Attributes:
        entries: as a page showed them last, by the id of their result; places and groups may be other ones now.
        hits: likewise, None where there are none.
        sections: by the place at which they begin.
        tally: how many entries there are, as of before ``uncounted`` changed; None until somebody has counted.
        numbers: of the dataset's revisions, once they are read.
        withdrawn: what was withdrawn from it, by the protocols that it ranks.
    """

    number: int | None = None
    entries: dict[int, Any] = field(default_factory=dict)
    hits: dict[int, Hits | None] = field(default_factory=dict)
    sections: dict[int, Section] = field(default_factory=dict)
    tally: Tally | None = None
    uncounted: set[int] = field(default_factory=set)
    numbers: tuple[int, int] | None = None
    withdrawn: dict[frozenset[str], tuple[Withdrawn, ...]] = field(default_factory=dict)
    _once: dict[Hashable, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under a name, made by the first who asks since something has changed."""
        if name not in self._once:
            self._once[name] = make()
        found: T = self._once[name]
        return found

    def advance(self, session: Session, dataset: str, stream: str) -> bool:
        """Forget what has changed until now; False where that cannot be known, or others know of more."""
        known = self.number
        asked = {"dataset": dataset, "stream": stream, "number": 2**62 if known is None else known}
        row = session.execute(CHANGES, asked | {"most": MOST_CHANGED}).one_or_none()
        if row is None or (known is not None and row.number < known):
            return False
        full = len(self.entries) > MOST_ENTRIES or len(self.hits) > MOST_HITS
        if row.number == known and not full:
            return True
        if known is None or row.whole > known or len(row.changed) == MOST_CHANGED or full:
            self._clear()
        for id_ in row.changed:
            self._forget(id_)
        if row.withdrawn or any(self.withdrawn.values()):  # one that is withdrawn no more changes as well
            self.withdrawn.clear()
        self.number = row.number
        return True

    def _clear(self) -> None:
        for part in (self.entries, self.hits, self.sections, self.withdrawn, self._once, self.uncounted):
            part.clear()
        self.tally = self.numbers = None

    def _forget(self, id_: int) -> None:
        self._once.clear()
        self.uncounted.add(id_)
        self.entries.pop(id_, None)
        if id_ in self.hits:
            del self.hits[id_]
            for start, section in self.sections.items():
                section.tests.forget(id_)
                self.sections[start] = section._replace(order=[])


class Memory:
    """Of the boards that were asked for last, by all that tells one from another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boards: OrderedDict[str, Kept] = OrderedDict()

    @contextmanager
    def of(self, session: Session, board: str, dataset: str, stream: str) -> Iterator[Kept]:
        """Yield what is kept of a board, as of what a transaction sees, to one at a time.

        Args:
            session: a transaction that sees one state of the database until it ends (`Database.snapshot`).
            board: what tells it from others.
            dataset: whose it is.
            stream: of its entries.
        """
        with self._lock:
            kept = self._boards.setdefault(board, Kept())
            self._boards.move_to_end(board)
            if len(self._boards) > MOST_BOARDS:
                self._boards.popitem(last=False)
        with kept.lock:
            if kept.advance(session, dataset, stream):
                yield kept
                return
        yield Kept()
