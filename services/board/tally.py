"""How many entries a board has of each revision and protocol, so kept that what has changed is counted again alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.board.choice import Count

Ids = NDArray[np.int64]
NONE: Ids = np.empty(0, np.int64)


class Counted(NamedTuple):
    """Results of one revision and protocol, as Postgres says them: ids of 8 bytes each, the highest first."""

    revision: int
    protocol: str
    line: str
    complete: bytes
    incomplete: bytes
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Tally:
    """Counts of entries, each with the ids of its results, with a value and without one."""

    groups: tuple[tuple[Count, Ids, Ids], ...]

    @classmethod
    def of(cls, counted: Iterable[Counted]) -> Tally:
        """Return what was counted, of a whole board or of some results."""
        return cls(tuple(_group(each, _ids(each.complete), _ids(each.incomplete)) for each in counted))

    def changed(self, changed: Collection[int], counted: Iterable[Counted]) -> Tally:
        """Return it after some results have changed.

        Args:
            changed: ids of their results.
            counted: what these are now; what has neither a value nor a lack of one is in none.
        """
        gone = np.array(sorted(changed), np.int64)
        groups = {
            (count.revision, count.protocol): (count, _without(complete, gone), _without(incomplete, gone))
            for count, complete, incomplete in self.groups
        }
        for count, *come in Tally.of(counted).groups:
            key = count.revision, count.protocol
            _, *there = groups.get(key, (count, NONE, NONE))
            complete, incomplete = (np.concatenate(pair) for pair in zip(there, come, strict=True))
            groups[key] = count, complete, incomplete
        return Tally(tuple(_group(*each) for each in groups.values() if len(each[1]) or len(each[2])))

    @property
    def counts(self) -> list[Count]:
        """How many entries there are, the most first."""
        return sorted((count for count, *_ in self.groups), key=lambda count: (-count.entries, count.line))


def _group(count: Counted | Count, complete: Ids, incomplete: Ids) -> tuple[Count, Ids, Ids]:
    made = Count(count.revision, count.protocol, count.line, len(complete), len(incomplete), count.fields)
    return made, complete, incomplete


def _ids(packed: bytes) -> Ids:
    return np.frombuffer(packed, ">i8").astype(np.int64)


def _without(ids: Ids, gone: Ids) -> Ids:
    return ids[~np.isin(ids, gone)]
