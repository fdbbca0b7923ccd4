"""Where a page of the leaderboard begins, as the text that a client sends back.

It names the revision and the protocol of the pages before: which of them has the most entries may change meanwhile.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from dataclasses import dataclass

from services.errors import AlteredCursor

CURSOR = r"([0-9]{1,9})-([0-9a-f]{16})-(?:([0-9a-f]{16})-([0-9]{1,18})|end)-(?:([0-9]{1,18})|end)-([0-9a-f]{12})"
"""The revision, the beginning of the protocol's digest, merit (the 64 bits of its float) and id of the last complete
entry, the id of the last incomplete one, and a hash of all that and of the board; ``end`` where there are no more."""
ALLOWED = "the `next_cursor` of the page before, unchanged, for the same board"


@dataclass(frozen=True)
class Cursor:
    """The last complete entry and the last incomplete one of a page; ids are 0 before the first, None after the end."""

    revision: int | None = None
    protocol: str | None = None
    merit: float = math.inf
    id: int | None = 0
    incomplete_id: int | None = 0

    @classmethod
    def read(cls, text: str | None, board: str) -> Cursor:
        """Return what a client sent back; nothing begins with the first page.

        Args:
            text: as `write` gave it.
            board: what tells the board from others.

        Raises:
            AlteredCursor: it is none that we gave for this board.
        """
        if text is None:
            return cls()
        found = re.fullmatch(CURSOR, text)
        if found is None or found[6] != _hash(text[:-12], board):
            raise AlteredCursor("cursor", text, ALLOWED)
        revision, protocol, merit, last, incomplete, _ = found.groups()
        return cls(
            int(revision),
            protocol,
            math.inf if merit is None else struct.unpack(">d", bytes.fromhex(merit))[0],
            None if last is None else int(last),
            None if incomplete is None else int(incomplete),
        )

    def goes_on(self, revision: int, protocol: str) -> bool:
        """Say whether it is of a page of this revision and protocol, by the protocol's digest."""
        return self.revision == revision and protocol.startswith(self.protocol or "")

    def write(self, board: str) -> str:
        """Return the text for a client."""
        assert self.protocol is not None
        complete = "end" if self.id is None else f"{struct.pack('>d', self.merit).hex()}-{self.id}"
        incomplete = "end" if self.incomplete_id is None else self.incomplete_id
        text = f"{self.revision}-{self.protocol[:16]}-{complete}-{incomplete}-"
        return text + _hash(text, board)


def _hash(text: str, board: str) -> str:
    return hashlib.sha256(f"{text}\n{board}".encode()).hexdigest()[:12]
