"""What the texts that users give may hold: they are printed on terminals, pages and in tables, one line each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
"""Control characters, which a terminal obeys and Postgres partly refuses, and all ends of lines."""
_TURNS = r"\u202a-\u202e\u2066-\u2069"
"""Control characters of direction: what follows is shown in another order than it has."""
_UNSEEN = r"\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
"""Characters that join or part others, and show nothing by themselves."""
PLAIN = rf"^[^{_CONTROLS}]*$"
PRINTABLE = rf"^[^{_CONTROLS}]+$"
ONE_LINE = rf"^[^{_CONTROLS}{_TURNS}]*[^\s{_CONTROLS}{_TURNS}{_UNSEEN}][^{_CONTROLS}{_TURNS}]*$"
LINES = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
WORDS = {
    PLAIN: "without control characters or line ends",
    PRINTABLE: "without control characters or line ends",
    ONE_LINE: "on one line, without control characters, not of blanks alone",
    LINES: "without control characters but line ends and tabs",
}
"""Each of them as a refusal says it."""

Title = Annotated[str, Field(min_length=1, max_length=200, pattern=ONE_LINE)]
"""The name of an experiment, sweep or score file, as people write it."""
