"""A page of commands, each with what it printed: run again in the page's order, and compared with it.

A block may have a comment before it: ``<!-- until: words, words -->`` has its commands repeated until they print all of
these, ``<!-- without: module module -->`` has them run as if the modules were not installed.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from cli.main import main
from tests.cli.stacks import PATIENCE_SECONDS

BLOCK = re.compile(r"^((?:<!-- (?:until|without): [^\n]+ -->\n)?)```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n", re.MULTILINE)
HINT = re.compile(r"<!-- (\w+): (.+) -->")
ID = re.compile(r"\bexp_[0-9a-f]{8,}")
CODE = "; echo $?"
SHELL = frozenset("|<>;&$`*")
"""What makes a line one for a shell; others are run in this process, which is quicker."""
VALUES = "VALUES "
MASKS = (
    (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32,64}\b", "HEX"),
    (r"\d+(?:[.,:T+-]\d+)*", "N"),
    (r"(?:(?:about|at least) )?N(?: (?:s|min|h|d))?(?: to N)? (?:s|min|h|d)\b(?: ago)?|a moment|unknown", "TIME"),
    (r"N (?:B|kB|MB|GB)\b", "SIZE"),
    (r"[▁▂▃▄▅▆▇█]+(?: +[▁▂▃▄▅▆▇█]+)*", "CURVE"),
    (r"[ \t]+", " "),
    (r"(?:(?:N|TIME|SIZE|CURVE|-)(?: |$))+", VALUES),
)
"""What differs from run to run: times, sizes, figures, or that there are none; and by them the width of columns."""


def renewed(page: str, run: Callable[[str, str], str]) -> str:
    """Return a page with what its commands print now, and with the ids of now.

    Args:
        page: Markdown.
        run: runs a command, after the comment before its block, and returns what it printed.
    """
    ids: dict[str, str] = {}

    def block(found: re.Match[str]) -> str:
        hint, [_, *parts] = found[1], COMMAND.split(found[2])
        said = []
        for command, before in zip(parts[::2], parts[1::2], strict=True):
            line = _with_ids(command, ids)
            out = run(line, hint)
            ids.update(
                (old, new) for old, new in zip(ID.findall(before), ID.findall(out), strict=False) if old not in ids
            )
            said.append(f"$ {line}\n{out}")
        return f"{hint}```console\n{''.join(said)}```"

    return BLOCK.sub(block, page)


def _with_ids(text: str, ids: Mapping[str, str]) -> str:
    """Put the ids of now for those of the page, and the beginning of one for that of the other."""

    def now(found: re.Match[str]) -> str:
        return next((new[: len(found[0])] for old, new in ids.items() if old.startswith(found[0])), found[0])

    return ID.sub(now, text)


def masked(page: str) -> list[str]:
    """Return the lines of a page without what differs from run to run; ids are numbered as they first appear, and rows
    that begin with a number, or with none, are sorted."""
    seen: list[str] = []

    def number(found: re.Match[str]) -> str:
        if not any(id_.startswith(found[0]) for id_ in seen):
            seen.append(found[0])
        return "id" + "abcdefghij"[next(place for place, id_ in enumerate(seen) if id_.startswith(found[0]))]

    text = ID.sub(number, page)
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    lines = map(str.rstrip, text.splitlines())
    parts = ((numbered, [*rows]) for numbered, rows in itertools.groupby(lines, lambda line: line.startswith(VALUES)))
    in_order = (line for numbered, rows in parts for line in (sorted(rows) if numbered else rows))
    return [line for line, _ in itertools.groupby(in_order)]


class Shell:
    """Runs the commands of a page, and words what belongs to this machine as on any other.

    Args:
        folder: where they run.
        words: what is written for what, such as for the folder of this test.
    """

    def __init__(self, folder: Path, words: Mapping[str, str]) -> None:
        self._folder, self._words = folder, words

    def __call__(self, command: str, hint: str) -> str:
        """Run a command; return what it printed, errors too."""
        kind, value = (HINT.findall(hint) or [("", "")])[0]
        absent = dict.fromkeys(value.split()) if kind == "without" else {}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with mock.patch.dict(sys.modules, absent):
                out = self._run(command)
            missing = [words for words in value.split(", ") if words not in out] if kind == "until" else []
            if not missing:
                break
            assert time.monotonic() < deadline, f"{command} never says {missing}:\n{out}"
            time.sleep(0.5)  # between two looks, until the page's words are said
        for own, word in self._words.items():
            out = out.replace(own, word)
        return out

    def _run(self, command: str) -> str:
        plain = command.removesuffix(CODE)
        if SHELL & set(plain) or not plain.startswith("twostream "):
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-c", command], cwd=self._folder, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=PATIENCE_SECONDS, check=False,
            )  # fmt: skip
            return done.stdout.decode().replace("\r\n", "\n")
        out, code = io.StringIO(), 0
        with redirect_stdout(out), redirect_stderr(out):
            try:
                main(shlex.split(plain)[1:])
            except SystemExit as ended:
                code = int(ended.code or 0)
        return out.getvalue() + (f"{code}\n" if plain != command else "")
