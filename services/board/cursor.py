"""Where a page of the leaderboard begins, as the text that a client sends back."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

from services.errors import InvalidRequest

CURSOR = r"(?:([0-9a-f]{16})-([0-9]{1,18})|end)(?:-([0-9]{1,18})|-end)"
"""The merit (the 64 bits of its float) and id of the last complete entry, and the id of the last incomplete one;
``end`` where there are no more."""


@dataclass(frozen=True)
class Cursor:
    """The last complete entry and the last incomplete one of a page; ids are 0 before the first, None after the end."""

    merit: float = math.inf
    id: int | None = 0
    incomplete_id: int | None = 0

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """Return what a client sent back; nothing begins with the first page.

        Raises:
            InvalidRequest: it is none that we gave.
        """
        if text is None:
            return cls()
        found = re.fullmatch(CURSOR, text)
        if found is None:
            raise InvalidRequest("cursor", text, "the `next_cursor` of the page before")
        merit, last, incomplete = found.groups()
        return cls(
            math.inf if merit is None else struct.unpack(">d", bytes.fromhex(merit))[0],
            None if last is None else int(last),
            None if incomplete is None else int(incomplete),
        )

    def __str__(self) -> str:
        complete = "end" if self.id is None else f"{struct.pack('>d', self.merit).hex()}-{self.id}"
        return f"{complete}-{'end' if self.incomplete_id is None else self.incomplete_id}"
