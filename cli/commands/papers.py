"""`papers list`, `papers show`, `papers draw`, `papers launch` and `papers fill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.commands.figure import drawn_file, write_drawing
from cli.output import JsonOption, duration, print_table
from cli.terminal import print_json, say
from cli.transport import step
from services.words import counted

papers = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="See what papers print beside what is measured; launch it."
)
Json = dict[str, Any]

PaperArgument = Annotated[str, typer.Argument(metavar="PAPER", help="Name of the paper.", show_default=False)]
TableArgument = Annotated[
    str | None, typer.Argument(metavar="[TABLE]", help="Table or figure; the whole paper if none is named.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be launched; queue nothing.")]
RowOption = Annotated[list[str] | None, typer.Option("--row", help="A row in the table's words; may be repeated.")]
SeedOption = Annotated[list[int] | None, typer.Option("--seed", min=0, help="May be repeated; 0 if none is given.")]
DatasetOption = Annotated[str | None, typer.Option(help="In place of the paper's, for all rows.")]
BackboneOption = Annotated[str | None, typer.Option(help="In place of every ConvNet, such as tiny.")]
EpochsOption = Annotated[int | None, typer.Option(min=1, help="Of every training.")]
BatchSizeOption = Annotated[int | None, typer.Option(min=1, help="Of every training, at the most.")]
FlowOption = Annotated[str | None, typer.Option(help="Algorithm of optical flow, such as farneback.")]


@papers.command("list")
def listing(json: JsonOption = False) -> None:
    """List the papers and their tables."""
    with Client.connect() as client:
        found = client.get("/papers")
    if json:
        print_json(found)
        return
    for paper in found["items"]:
        rows = ((table["name"], table["title"], table["printed"], table["own"]) for table in paper["tables"])
        title = f"{paper['name']}: {paper['title']}, {paper['venue']}, {paper['year']}, arXiv {paper['arxiv']}"
        print_table(title, ("table", "title", "printed#", "own#"), rows)


@papers.command("show")
def show(paper: PaperArgument, table: TableArgument = None, json: JsonOption = False) -> None:
    """Show a table: printed, corrected, measured; or a paper's misprints and what it leaves open."""
    with Client.connect() as client:
        found = client.get(_place(paper, table))
    if json:
        print_json(found)
    elif table is None:
        _print_paper(found)
    else:
        _print_filled(found)


@papers.command("launch")
def launch(
    *,
    paper: PaperArgument,
    table: TableArgument = None,
    row: RowOption = None,
    seed: SeedOption = None,
    dataset: DatasetOption = None,
    backbone: BackboneOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    flow: FlowOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Launch the experiments behind a paper's own figures; those that are there are not launched again."""
    asked = {"rows": row, "seeds": seed, "dataset": dataset, "backbone": backbone}
    body = _given(asked | {"epochs": epochs, "batch_size": batch_size, "flow": flow})
    with Client.connect() as client:
        answer = _launched(client, paper, table, body, dry_run=dry_run)
    print_json(answer) if json else _print_launch(answer)


@papers.command("fill")
def fill(
    *,
    paper: PaperArgument,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Table or figure.", show_default=False)],
    seed: SeedOption = None,
    dataset: DatasetOption = None,
    backbone: BackboneOption = None,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = None,
    flow: FlowOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
) -> None:
    """Launch what a table lacks, and show what is there."""
    asked = {"seeds": seed, "dataset": dataset, "backbone": backbone, "epochs": epochs}
    body = _given(asked | {"batch_size": batch_size, "flow": flow})
    with Client.connect() as client:
        before = client.get(_place(paper, table))
        rows = list(dict.fromkeys(row["row"] for row in before["rows"] if _lacks(row, body)))
        answer = _launched(client, paper, table, body | {"rows": rows}, dry_run=dry_run) if rows else None
        after = client.get(_place(paper, table))
    if json:
        print_json({"launch": answer, "table": after})
        return
    _print_filled(after)
    if answer is None:
        say("nothing is missing")
    else:
        _print_launch(answer)


@papers.command("draw")
def draw(
    *,
    paper: PaperArgument,
    table: Annotated[str, typer.Argument(metavar="FIGURE", help="A figure that is drawn.", show_default=False)],
    curve: Annotated[list[str] | None, typer.Option("--curve", help="Its name; may be repeated; all if none.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write, .svg or .png.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    json: JsonOption = False,
) -> None:
    """Draw the curves of a figure as they were measured here."""
    file = drawn_file(output or Path(f"{table}.png"))
    with Client.connect() as client:
        path = f"{_place(paper, table)}/curves{file.suffix}"
        content = client.content(path, curves=",".join(curve) if curve else None, theme=theme)
    write_drawing(file, content, json=json)


def _place(paper: str, table: str | None) -> str:
    """Return the path of a paper, or of one of its tables."""
    return f"/papers/{step(paper)}" if table is None else f"/papers/{step(paper)}/tables/{step(table)}"


def _given(options: Json) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def _lacks(row: Json, body: Json) -> bool:
    """Whether a figure is to be launched: one that is measured at all does where it is asked for in a reduced form, if
    it has the seeds that are asked for."""
    measured = row["measured"]
    if row["origin"] != "own":
        return False
    if measured is None:
        return True
    behind = {measured["experiment_id"], *measured["pooled"]}
    seeds = {seed for each in row["experiments"] if each["id"] in behind for seed in each["seeds"]}
    reduced = body.keys() - {"seeds"}
    return not seeds.issuperset(body.get("seeds", ())) or (not reduced and row["missing"] is not None)


def _launched(client: Client, paper: str, table: str | None, body: Json, *, dry_run: bool) -> Json:
    found: Json = client.post(f"{_place(paper, table)}/launch{'?dry_run=true' if dry_run else ''}", body, patient=True)
    return found


def _print_paper(paper: Json) -> None:
    say(f"{paper['title']}\n{paper['authors']}, {paper['venue']}, {paper['year']}, arXiv {paper['arxiv']}")
    rows = ((table["name"], table["title"], table["printed"], table["own"]) for table in paper["tables"])
    print_table("tables", ("table", "title", "printed#", "own#"), rows)
    misprints = ((each["where"], each["printed"], each["corrected"], each["reason"]) for each in paper["misprints"])
    print_table("misprints", ("where", "printed", "corrected", "reason"), misprints, empty="none are known")
    print_table("open or contradicted", ("what", "here"), paper["deviations"].items(), empty="nothing")


def _print_filled(found: Json) -> None:
    title = f"{found['paper']}, {found['table']}: {found['title']}"
    columns = ("row", "column", "printed#", "measured#", "std#", "difference#", "missing")
    print_table(title, columns, (_line(row) for row in found["rows"]))
    _print_curves(found["rows"])
    say(f"{found['measured']} of {found['own']} own figures are measured")


def _print_curves(rows: list[Json]) -> None:
    """Print the curves of drawn figures, a line for each overlap with the true boxes."""
    curves = [curve for row in rows for curve in row["curves"] if curve["measured"] is not None]
    overlaps = list(dict.fromkeys(iou for curve in curves for iou in curve["measured"]["curve"]))
    if curves:
        columns = ("IoU#", *(f"{curve['name']}#" for curve in curves))
        print_table("curves", columns, [(iou, *(_point(curve, iou) for curve in curves)) for iou in overlaps])


def _point(curve: Json, iou: str) -> str | None:
    value = curve["measured"]["curve"].get(iou)
    return None if value is None else f"{100 * value:.1f}"


def _line(row: Json) -> tuple[object, ...]:
    measured, difference = row["measured"] or {}, row["difference"]
    printed = None if row["printed"] is None else f"{row['printed']:.1f}"
    if row["corrected"] is not None:
        printed = f"{row['corrected']:.1f} (printed {printed})"
    value, std = measured.get("value"), measured.get("std")
    return (
        row["row"],
        row["column"],
        printed,
        None if value is None else f"{100 * value:.1f}",
        None if std is None else f"{100 * std:.1f}",
        None if difference is None else f"{difference['points']:+.1f}",
        f"quoted: {row['quoted_from']}" if row["quoted_from"] else _said(row),
    )


def _said(row: Json) -> str | None:
    """Say what a figure lacks, and of which experiments its seeds are taken together."""
    pooled = (row["measured"] or {}).get("pooled") or []
    words = [f"seeds of {', '.join(pooled)} together"] if pooled else []
    return "; ".join([*([row["missing"]] if row["missing"] else []), *words]) or None


def _print_launch(answer: Json) -> None:
    rows = (
        (each["name"], each["dataset"], each["splits"], each["seeds"], each["stages"], _state(each), each["id"])
        for each in answer["experiments"]
    )
    columns = ("experiment", "dataset", "splits", "seeds", "stages#", "", "id")
    print_table("experiments", columns, rows, empty="nothing to launch")
    for each in answer["skipped"]:
        say(f"not launched: table {each['table']}, {each['row']}, {each['column']}: {each['reason']}")
    for finding in answer["findings"]:
        say(f"{finding['severity']}: {finding['field']}: {finding['sentence']}")
    words = "would be launched" if answer["dry_run"] else "launched"
    line = f"{counted(answer['created'], 'experiment')} {words}, {answer['reused']} are there"
    line += f"; {counted(answer['planned'], 'stage')}, {answer['unique']} different"
    if answer["seconds"]:
        line += f"; {duration(answer['seconds'])} of work, as far as known"
    say(line)


def _state(experiment: Json) -> str:
    return "new" if experiment["created"] else "there"
