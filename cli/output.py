"""Tables and bars for people, and how numbers and times are worded in them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.terminal import one_line, say, say_styled
from services import words
from services.cache.sizes import word_bytes
from services.metrics import METRICS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn

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

ID = "Id of the experiment, the beginning of one, or its name."


def complete_ids(incomplete: str) -> list[tuple[str, str]]:
    """Return ids that begin so, for a shell."""
    from cli.completion import experiment_ids

    return experiment_ids(incomplete)


Id = Annotated[str, typer.Argument(metavar="ID", help=ID, show_default=False, autocompletion=complete_ids)]
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
    """Print a table; numbers (columns whose name ends in ``#``) stand at the right.

    A terminal that is too narrow has the widest columns folded, never an id, wherever it stands; a file none.
    """
    from cli.columns import fitted, folded

    named = [one_line(column.rstrip("#")) for column in columns]
    cells = [[cell(value) for value in row] for row in rows]
    say_styled([(f"{title}: {empty}", "") if not cells else (title, "italic")])
    if not cells:
        return
    right = [column.endswith("#") for column in columns]
    texts = [named, *([text for text, _ in row] for row in cells)]
    widths = fitted(texts)
    for row, styles in zip(
        texts, [["bold"] * len(named), *([style for _, style in row] for row in cells)], strict=True
    ):
        for line in folded(row, widths, right):
            say_styled(zip(line, styles, strict=True))


def print_more(what: str, shown: int, total: int, cursor: str | None, command: str, **options: object) -> None:
    """Say how much of a listing a page leaves out, and the command that shows the next one; nothing if it is whole.

    Args:
        what: the entries, in words.
        shown: how many the page has.
        total: how many there are on all pages.
        cursor: of the next page.
        command: that printed the page.
        options: with which it was called; what is None or false was not given.
    """
    if shown >= total:
        return
    import shlex

    line = f"{shown} of {total} {what}"
    if cursor is not None:
        given = [option for name, value in options.items() for option in _options(name.replace("_", "-"), value)]
        line += f"; more: {' '.join(['twostream', command, *given, '--cursor', shlex.quote(cursor)])}"
    say(line)


def _options(name: str, value: object) -> list[str]:
    """Write an option as it was given: once for each value of a list, alone where it is a switch, or not at all."""
    import shlex

    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    return [f"--{name} {shlex.quote(str(each))}" for each in (value if isinstance(value, list) else [value])]


def cell(value: object) -> tuple[str, str]:
    """Word a value of a table, and name the style in which it stands."""
    if value is None or value == []:
        return "-", "dim"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return one_line(text), STATE_STYLES.get(text, "")


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


def about(seconds: Mapping[str, Any] | None) -> str:
    """Word a range of seconds."""
    return "-" if seconds is None else words.about(seconds["low"], seconds["high"])


USED = ("CPUs#", "memory#", "GPU#", "GPU memory#")


def used(work: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Word what a stage uses, by the columns of ``USED``; None is what nobody measured."""
    return (
        None if work["cpu"] is None else f"{work['cpu']:.1f}",
        None if work["memory_bytes"] is None else word_bytes(int(work["memory_bytes"])),
        None if work["gpu"] is None else f"{100 * work['gpu']:.0f} %",
        None if work["gpu_memory_bytes"] is None else word_bytes(int(work["gpu_memory_bytes"])),
    )


def ago(timestamp: str | None) -> str:
    """Word an ISO timestamp as the time since."""
    if timestamp is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"
