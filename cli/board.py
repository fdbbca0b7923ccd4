"""A leaderboard in words and columns, for the command that asks for one and for the demo."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cli.columns import GAP, LEAST, cells, cut, padded, width
from cli.output import WIDE, interval, measured, print_more, print_table
from cli.terminal import one_line, say, say_styled
from services.words import counted


class Line(NamedTuple):
    """A line, and the style in which it stands."""

    plain: str
    style: str = ""


def print_board(board: Mapping[str, Any], options: Mapping[str, str | None] | None = None) -> None:
    """Print a leaderboard, and below it what it leaves out; ``options`` are those that asked for it."""
    title = f"{board['dataset']}{_revision(board)}: {board['metric']}, split {board['split']}, {board['stream']}"
    for line in lines(board, title, width() or WIDE):
        say_styled([line])
    if board["significance"] and board["rows"]:
        say(f"one group: not told from its first at 5 % ({board['significance']})")
    for left_out in sorted({row["excluded"] for row in board["rows"]} - {0}):
        say(f"the dataset leaves {counted(left_out, 'listed clip')} out")
    for row in board["incomplete"]:
        missing = ", ".join(map(str, row["missing_splits"]))
        say(f"without a mean: {row['name']} ({row['experiment_id']}), missing splits: {missing}")
    for gone in board.get("withdrawn", ()):
        say(f"withdrawn: {gone['name']} ({gone['experiment_id']}): {gone['reason']}")
    shown, total = len(board["rows"]) + len(board["incomplete"]), board["total"] + board["total_incomplete"]
    print_more("entries", shown, total, board["next_cursor"], "leaderboard", **(options or {}))
    for number, entries in board["other_revisions"].items():
        say(f"on other lists or clips: {counted(entries, 'entry')}, --revision {number}")
    for name, entries in board["other_protocols"].items():
        say(f"under another protocol: {counted(entries, 'entry')}, --protocol {shlex.quote(name)}")


def print_published(board: Mapping[str, Any]) -> None:
    """Print what the papers print of the same, where it was asked for."""
    if board["published"] is None:
        return
    columns = ("paper", "table", "row", "%#", "printed#", "source")
    rows = [
        (
            each["short"],
            each["table"],
            each["row"],
            each["printed"] if each["corrected"] is None else each["corrected"],
            None if each["corrected"] is None else each["printed"],
            "own" if each["quoted_from"] is None else each["quoted_from"],
        )
        for each in board["published"]
    ]
    print_table("published, by the papers' own protocols, not ranked", columns, rows)


def _revision(board: Mapping[str, Any]) -> str:
    """Word the revision of the dataset, where it is not the only one."""
    if board["superseded"]:
        return f", revision {board['revision']}, superseded: it has other lists or clips now"
    return f", revision {board['revision']}" if board["other_revisions"] or board["revision"] > 1 else ""


@dataclass
class _Column:
    """A column: its cells below its name, whether they are numbers, and what gives way on a narrow terminal.

    ``spare`` columns are left out, the one with the highest number first; names are cut, as far as `LEAST`.
    """

    cells: list[str]
    number: bool = True
    spare: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        """Have every cell stay on its line."""
        self.cells = [one_line(cell) for cell in self.cells]

    @property
    def width(self) -> int:
        return max(map(cells, self.cells))

    @property
    def least(self) -> int:
        return min(self.width, LEAST) if self.cut else self.width

    def cell(self, index: int, size: int) -> str:
        text = self.cells[index]
        return padded(text if self.number else cut(text, size), size, right=self.number)


def lines(board: Mapping[str, Any], title: str, room_for: int) -> list[Line]:
    """Return the table, a line an entry: names are cut where the width asks for it, ids and numbers never."""
    if not board["rows"]:
        return [Line(one_line(f"{title}: no results yet"))]
    columns = _columns(board)
    while len(columns) > 1 and _room(columns, room_for) < 0 and any(column.spare for column in columns):
        columns.remove(max(columns, key=lambda column: column.spare))
    room, widths = max(0, _room(columns, room_for)), []
    for column in columns:
        more = min(room, column.width - column.least)
        widths.append(column.least + more)
        room -= more
    table = [
        (" " * GAP).join(column.cell(index, size) for column, size in zip(columns, widths, strict=True)).rstrip()
        for index in range(len(board["rows"]) + 1)
    ]
    return [Line(one_line(title), "italic"), Line(table[0], "bold"), *map(Line, table[1:])]


def _room(columns: Sequence[_Column], size: int) -> int:
    return size - sum(column.least for column in columns) - GAP * (len(columns) - 1)


def _columns(board: Mapping[str, Any]) -> list[_Column]:
    rows, metric = board["rows"], board["metric"]
    splits = sorted({split for row in rows for split in row["splits"]})

    def numbers(name: str, found: Sequence[Any], spare: int) -> _Column:
        return _Column([name, *("-" if value is None else measured(metric, value) for value in found)], spare=spare)

    found = [_Column(["#", *(str(row["rank"]) for row in rows)])]
    if board["significance"]:
        found.append(_Column(["group", *(str(row["rank_group"] or "-") for row in rows)]))
    found.append(_Column(["experiment", *(_name(row) for row in rows)], number=False, cut=True))
    found.append(_Column(["network", *(row["network"] for row in rows)], number=False, cut=True, spare=1))
    found.append(numbers(metric, [row["value"] for row in rows], 0))
    found.append(numbers("std", [row["std"] for row in rows], 2))
    bounds = [interval(metric, row["confidence_interval"]) or "-" for row in rows]
    found.append(_Column(["95 % interval", *bounds], spare=5))
    found += [numbers(f"split {split}", [row["splits"].get(split) for row in rows], 4) for split in splits]
    if board["split"] == "mean":
        found.append(numbers("split std", [row["split_std"] for row in rows], 3))
    for name in board["vary"]:
        found.append(_Column([name, *(str(row["varied"].get(name, "-")) for row in rows)], number=False))
    return [*found, _Column(["id", *(row["experiment_id"] for row in rows)], number=False)]


def _name(row: Mapping[str, Any]) -> str:
    name: str = row["name"]
    return f"{name} (epoch chosen on the test list)" if row["selected_on_test"] else name
