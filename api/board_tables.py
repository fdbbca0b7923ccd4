"""A page of the leaderboard as a table: CSV, Markdown, and LaTeX with booktabs; free text is escaped in each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from api import spreadsheet
from api.board import Entry, Leaderboard, PublishedRow
from services.metrics import METRICS
from services.words import counted

Words = Callable[[str], str]

MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")
LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
}  # fmt: skip
NOT_IN_T1 = "ĦħĸĿŀŉŦŧſ"
"""Latin letters up to U+017F that LaTeX's `t1enc.dfu` does not set up."""

PUBLISHED = ("paper", "table", "row", "column", "printed", "corrected", "misprint", "origin", "quoted_from")
WITHDRAWN = ("withdrawn", "name", "value", "reason", "by", "at")
PRINTED = ["Paper", "Table", "Row", "Printed", "Source"]
PUBLISHED_TITLE = "Published, in percent, by the papers' own protocols; not ranked"


def as_csv(board: Leaderboard) -> str:
    """Return all columns, a share between 0 and 1; what has no value comes last, without a rank."""
    splits = _splits(board)
    lines: list[Iterable[object]] = [
        [
            *("rank", "rank_group", "experiment_id", "name", "network", "options", "source", "uploaded", board.metric),
            *("std", "lower", "upper", *(f"split_{split}" for split in splits), "split_std", "seeds", "clips"),
            *("excluded", "missing_splits", "selected_on_test", "flags", *board.vary),
        ]
    ]
    for row in (*board.rows, *board.incomplete):
        lower, upper = row.confidence_interval or (None, None)
        cells: list[object] = [row.rank, row.rank_group, row.experiment_id, row.name, row.network]
        cells += [json.dumps(row.options), row.source, row.uploaded, row.value, row.std, lower, upper]
        cells += [*(row.splits.get(split) for split in splits), row.split_std, row.seeds, row.clips, row.excluded]
        cells += [" ".join(map(str, row.missing_splits)), row.selected_on_test]
        cells += [" ".join(flag.code for flag in row.flags), *(_json(row.varied.get(name)) for name in board.vary)]
        lines.append(cells)
    if board.withdrawn:
        lines += [[], WITHDRAWN]
        for gone in board.withdrawn:
            lines.append([gone.experiment_id, gone.name, gone.value, gone.reason, gone.by, gone.at.isoformat()])
    if board.published is not None:
        lines += [[], PUBLISHED, *([getattr(each, name) for name in PUBLISHED] for each in board.published)]
    return spreadsheet.as_csv(lines)


def as_markdown(board: Leaderboard) -> str:
    """Return a table for people, and below it what its columns are; the best value is bold."""
    columns, rows = _columns(board), [_cells(board, row, markdown, "**{}**", "{} ± {}") for row in board.rows]
    alignment = ["---:" if number else "---" for _, number in columns]
    table = [[markdown(name) for name, _ in columns], alignment, *rows]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    whole = [f"**{markdown(_title(board))}**", "", *lines, "", *map(markdown, _notes(board)), ""]
    if board.published is not None:
        rows = [PRINTED, ["---"] * 3 + ["---:", "---"], *(_printed(each, markdown) for each in board.published)]
        whole += [f"**{PUBLISHED_TITLE}**", "", *("| " + " | ".join(cells) + " |" for cells in rows), ""]
    return "\n".join(whole)


def as_latex(board: Leaderboard) -> str:
    """Return a table for `\\usepackage{booktabs,textcomp}`; the best value is bold."""
    columns = _columns(board)
    head = " & ".join(latex(name) for name, _ in columns)
    rows = [_cells(board, row, latex, r"\textbf{{{}}}", r"{} $\pm$ {}") for row in board.rows]
    whole = "\n".join(
        [
            r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs,textcomp}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(_title(board))}. {' '.join(map(latex, _notes(board)))}}}",
            rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for _, number in columns)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *(rf"{' & '.join(cells)} \\" for cells in rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
    return whole if board.published is None else whole + _latex_of(board.published)


def _latex_of(published: Sequence[PublishedRow]) -> str:
    """Return what the papers print, as a table of its own."""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(PUBLISHED_TITLE)}.}}",
            r"\begin{tabular}{lllrl}",
            r"\toprule",
            rf"{' & '.join(PRINTED)} \\",
            r"\midrule",
            *(rf"{' & '.join(_printed(each, latex))} \\" for each in published),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _printed(each: PublishedRow, words: Words) -> list[str]:
    value = f"{each.printed:g}" if each.corrected is None else f"{each.corrected:g} (printed {each.printed:g})"
    source = "own" if each.quoted_from is None else f"quoted from {each.quoted_from}"
    return [words(each.short), words(f"{each.table}, {each.column}"), words(each.row), words(value), words(source)]


def markdown(words: str) -> str:
    """Return free text so that Markdown shows it as it is, on one line."""
    return MARKDOWN.sub(r"\\\1", " ".join(words.split()))


def latex(words: str) -> str:
    """Return free text so that LaTeX shows it as it is; a letter that its T1 fonts lack is told by its number."""
    escaped = "".join(LATEX.get(letter) or _letter(letter) for letter in " ".join(words.split()))
    return re.sub(r"([-?!',])(?=[-',\\])", r"\1{}", escaped)  # else two would become another sign


def _letter(letter: str) -> str:
    if " " <= letter <= "~" or (letter.isalpha() and "\u00c0" <= letter <= "\u017f" and letter not in NOT_IN_T1):
        return letter
    return {"–": "--", "±": r"$\pm$"}.get(letter, rf"\texttt{{U+{ord(letter):04X}}}")  # noqa: RUF001 - a dash


def _columns(board: Leaderboard) -> list[tuple[str, bool]]:
    """Return the names of columns for people, and whether they hold numbers."""
    metric = METRICS[board.metric]
    value = f"{metric.title}, {metric.unit}" if metric.unit else metric.title
    splits = [(f"Split {split}", True) for split in _splits(board)]
    spread = [("Split std", True)] if splits and board.split == "mean" else []
    varied = [(name, False) for name in board.vary]
    group = [("Group", True)] if board.significance else []
    return [("Rank", True), *group, ("Experiment", False), ("Network", False), (value, True), *splits, *spread,
            ("Seeds", True), *varied]  # fmt: skip


def _cells(board: Leaderboard, row: Entry, words: Words, bold: str, deviation: str) -> list[str]:
    def number(value: float | None) -> str:
        return "" if value is None else METRICS[board.metric].shown(value, 2)

    best = number(row.value)
    best = bold.format(best) if row.rank == 1 else best
    cells = ["" if row.rank is None else str(row.rank)]
    if board.significance:
        cells.append("" if row.rank_group is None else str(row.rank_group))
    said = [*(["epoch chosen on the test list"] if row.selected_on_test else []), *(flag.code for flag in row.flags)]
    name = f"{row.name} ({', '.join(said)})" if said else row.name
    cells += [words(name), words(row.network)]
    cells.append(best if row.std is None else deviation.format(best, number(row.std)))
    splits = _splits(board)
    cells += [number(row.splits.get(split)) for split in splits]
    if splits and board.split == "mean":
        cells.append(number(row.split_std))
    return [*cells, str(row.seeds), *(words(_json(row.varied.get(field))) for field in board.vary)]


def _title(board: Leaderboard) -> str:
    split = "mean over splits" if board.split == "mean" else f"split {board.split}"
    revision = f", revision {board.revision}" if board.superseded or board.other_revisions else ""
    return f"{METRICS[board.metric].title} on {board.dataset}{revision}, {board.stream}, {split}"


def _notes(board: Leaderboard) -> list[str]:
    """Return what must be known to read the table."""
    protocol = f"Protocol: {board.protocol}" if board.protocol else "No results yet"
    vary = f"; entries differ from it in {', '.join(board.vary)}" if board.vary else ""
    notes = [f"{protocol}{vary}."]
    if any(row.std is not None for row in board.rows):
        own = " of the mean over splits" if board.split == "mean" else ""
        notes.append(f"± is the standard deviation over seeds{own}.")
    if board.split == "mean" and _splits(board):
        notes.append("Split std is that of the values of the splits.")
    if board.significance:
        notes.append(f"Entries of one group do not differ at 5 % from its first ({board.significance}).")
    if board.incomplete:
        lack = counted(board.total_incomplete, "entry", "lacks", "lack")
        notes.append(f"{lack} a split and {'is' if board.total_incomplete == 1 else 'are'} not ranked.")
    notes += [f"Withdrawn: {each.name} ({each.experiment_id}): {each.reason}" for each in board.withdrawn]
    return notes


def _splits(board: Leaderboard) -> Sequence[str]:
    return sorted({split for row in (*board.rows, *board.incomplete) for split in row.splits})


def _json(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
