"""The one way to a terminal: everything that is printed loses what would steer the reader's terminal on its way.

A name, a message or a log comes from other users, from files and from programs that they ran.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

STEERING = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, escape among them; C1 ones are escape sequences in one
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of the text
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # break lines, or cannot be seen
    "\ud800-\udfff"  # bytes of a file's name that are no text
    "]"
)
LINE_ENDS = re.compile("\r\n?")
BREAKS = re.compile("[\t\n]")
INSTEAD = "\N{REPLACEMENT CHARACTER}"
STYLES = {"bold": 1, "dim": 2, "italic": 3, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
"""Numbers of the styles that a terminal knows (ECMA-48, sec. 8.3.117)."""


def plain(text: str) -> str:
    """Return a text of several lines without what steers a terminal; of controls, line ends and tabs stay."""
    return STEERING.sub(INSTEAD, LINE_ENDS.sub("\n", text))


def one_line(text: str) -> str:
    """Return a text, such as a name, as one line without what steers a terminal."""
    return BREAKS.sub(" ", plain(text))


def say(line: str, *, error: bool = False) -> None:
    """Print one line, to standard error if it is no answer."""
    print(one_line(line), file=sys.stderr if error else sys.stdout, flush=True)


def say_styled(parts: Iterable[tuple[str, str]]) -> None:
    """Print one line of texts, each in one of `STYLES` or in none where its style is empty; a file gets no styles."""
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    shown = ((one_line(text), style) for text, style in parts)
    print(
        "".join(
            f"\x1b[{STYLES[style]}m{text}\x1b[0m" if style and coloured else text for text, style in shown
        ).rstrip(),
        flush=True,
    )


def say_text(text: str, *, error: bool = False) -> None:
    """Print a text of several lines, such as a log."""
    print(plain(text), file=sys.stderr if error else sys.stdout, flush=True)


def print_json(content: Any) -> None:
    """Print JSON, with blanks for a terminal and on one line for a pipe; all but ASCII is escaped."""
    text = json.dumps(content, indent=1 if sys.stdout.isatty() else None)
    print(text.replace("\x7f", "\\u007f"), flush=True)


def take_any_letter() -> None:
    """Have letters escaped that the terminal's encoding lacks, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
