"""Tables and bars for people, and how numbers and times are worded in them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.terminal import one_line, say
from services.metrics import METRICS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.text import Text

WIDE = 160
"""Columns where the output is a file or a pipe."""
STATE_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "cancelled": "yellow",
    "cancelling": "yellow",
    "evicted": "yellow",
    "running": "cyan",
    "alive": "green",
    "draining": "yellow",
}

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many at the most.")]
CursorOption = Annotated[str | None, typer.Option(help="Go on after an earlier answer, which names it.")]


def console() -> Console:
    """Return a console on standard output that does not fold what goes into a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """Return a bar that stands on a terminal's standard error while its block lasts, and nowhere else.

    Standard output may be a file or a pipe, and holds the answer alone.
    """
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty())


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "none") -> None:
    """Print a table; numbers (columns whose name ends in ``#``) stand at the right."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            Text(one_line(column.rstrip("#"))), justify="right" if column.endswith("#") else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    if not table.row_count:
        title = f"{title}: {empty}"
    out = console()
    out.print(
        Text(one_line(title), style="table.title" if table.row_count else ""), soft_wrap=True
    )  # whole, for who copies it
    if table.row_count:
        out.print(table)


def print_more(what: str, shown: int, total: int, cursor: str | None, command: str, **options: object) -> None:
    """Say how much of a listing a page leaves out, and the command that shows the next one; nothing if it is whole.

    Args:
        what: the entries, in words.
        shown: how many the page has.
        total: how many there are on all pages.
        cursor: of the next page.
        command: that printed the page.
        options: with which it was called; what is None was not given.
    """
    if shown >= total:
        return
    line = f"{shown} of {total} {what}"
    if cursor is not None:
        named = {name.replace("_", "-"): str(value) for name, value in options.items() if value is not None}
        given = [f"--{name} {shlex.quote(value)}" for name, value in named.items()]
        line += f"; more: {' '.join(['twostream', command, *given, '--cursor', shlex.quote(cursor)])}"
    say(line)


def cell(value: object) -> Text:
    """Word a value of a table."""
    from rich.text import Text

    if value is None or value == []:
        return Text("-", style="dim")
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return Text(one_line(text), style=STATE_STYLES.get(text, ""))


def stages_done(experiment: dict[str, Any]) -> int:
    """Return how many stages of an experiment have done their work, be their output still there or not."""
    counts: dict[str, int] = experiment["progress"]["stages"]
    return counts.get("succeeded", 0) + counts.get("evicted", 0)


def percent(rate: float | None) -> str:
    """Word a rate between 0 and 1."""
    return "-" if rate is None else f"{100 * rate:.2f} %"


def measured(metric: str, value: float | None) -> str:
    """Word a value of a metric with its unit; one of a metric that only the API knows, as it is."""
    if value is None:
        return "-"
    known = METRICS.get(metric)
    return f"{value:g}" if known is None else f"{known.shown(value, 2)} {known.unit}".rstrip()


def interval(metric: str, bounds: Sequence[float] | None) -> str | None:
    """Word the bounds of a value of a metric."""
    return " to ".join(measured(metric, bound) for bound in bounds) if bounds else None


def duration(seconds: float) -> str:
    """Word a time that something takes."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def ago(timestamp: str | None) -> str:
    """Word an ISO timestamp as the time since."""
    if timestamp is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
