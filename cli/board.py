"""A leaderboard in words and columns, for the command that asks for one and for the demo."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cli.output import interval, measured, print_more, print_table
from cli.terminal import say


def print_board(board: dict[str, Any], options: Mapping[str, str | None] | None = None) -> None:
    """Print a leaderboard, and below it what it leaves out; ``options`` are those that asked for it."""
    splits = sorted({split for row in board["rows"] for split in row["splits"]})
    title = f"{board['dataset']}{_revision(board)}: {board['metric']}, split {board['split']}, {board['stream']}"
    columns = ("#", "experiment", "model", f"{board['metric']}#", "95 % interval#", "std#")
    rows = (_row(row, board["metric"], splits) for row in board["rows"])
    print_table(title, (*columns, *(f"split {split}#" for split in splits), "id"), rows, empty="no results yet")
    for left_out in sorted({row["excluded"] for row in board["rows"]} - {0}):
        say(f"the dataset leaves {left_out} listed clips out")
    for row in board["incomplete"]:
        missing = ", ".join(map(str, row["missing_splits"]))
        say(f"without a mean: {row['name']} ({row['experiment_id']}), missing splits: {missing}")
    shown, total = len(board["rows"]) + len(board["incomplete"]), board["total"] + board["total_incomplete"]
    print_more("entries", shown, total, board["next_cursor"], "leaderboard", **(options or {}))
    for number, entries in board["other_revisions"].items():
        say(f"on other lists or clips: {entries} entries, --revision {number}")
    for name, entries in board["other_protocols"].items():
        say(f"under another protocol: {entries} entries, --protocol {shlex.quote(name)}")


def _revision(board: dict[str, Any]) -> str:
    """Word the revision of the dataset, where it is not the only one."""
    if board["superseded"]:
        return f", revision {board['revision']}, superseded: it has other lists or clips now"
    return f", revision {board['revision']}" if board["other_revisions"] or board["revision"] > 1 else ""


def _row(row: dict[str, Any], metric: str, splits: list[str]) -> tuple[object, ...]:
    value, between = measured(metric, row["value"]), interval(metric, row["confidence_interval"])
    spread = None if row["std"] is None else measured(metric, row["std"])
    values = (measured(metric, row["splits"].get(split)) for split in splits)
    name = f"{row['name']} (epoch chosen on the test list)" if row["selected_on_test"] else row["name"]
    return row["rank"], name, row["model"], value, between, spread, *values, row["experiment_id"]
