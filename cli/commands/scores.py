"""`scores add` and `scores list`: score files of systems that were computed elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.client import INVALID, Client, CommandError
from cli.output import JsonOption, ago, print_table
from cli.terminal import print_json, say

FORMATS = {".csv": "csv", ".parquet": "parquet", ".npz": "npz"}

scores = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring score files, list them.")


@scores.command("add")
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, Parquet or npz, by its extension.")],
    dataset: Annotated[str, typer.Option(help="On whose test clips the scores are.")],
    split: Annotated[int, typer.Option(min=1, max=3, help="Number of the split.")],
    stream: Annotated[str, typer.Option(help="rgb, flow, or two-stream for whatever is neither alone.")],
    name: Annotated[str | None, typer.Option(help="For people; the file's name if none is given.")] = None,
    logits: Annotated[bool, typer.Option("--logits", help="The scores are no probabilities.")] = False,
    json: JsonOption = False,
) -> None:
    """Bring the scores of a split's test clips, to fuse them in ensembles."""
    if file.suffix.lower() not in FORMATS:
        raise CommandError(f"FILE: got '{file}', allowed: a name that ends in {', '.join(FORMATS)}", INVALID)
    about: dict[str, str | int] = {"dataset": dataset, "split": split, "stream": stream, "name": name or file.stem}
    about |= {"kind": "logits" if logits else "probabilities", "file_type": FORMATS[file.suffix.lower()]}
    with file.open("rb") as content, Client.connect() as client:
        answer = client.send("/scores", content, **about)
    print_json(answer) if json else say(answer["id"])


@scores.command("list")
def listing(
    dataset: Annotated[str | None, typer.Option(help="Only those of this dataset.")] = None,
    json: JsonOption = False,
) -> None:
    """List the score files that users brought, newest first."""
    with Client.connect() as client:
        found = client.get("/scores", dataset=dataset)
    if json:
        print_json(found)
        return
    names = ("id", "name", "dataset", "split", "stream", "kind", "clips", "owner")
    rows = ((*(entry[name] for name in names), ago(entry["created_at"])) for entry in found)
    print_table("score files", ("id", "name", "dataset", "split#", "stream", "kind", "clips#", "owner", "came#"), rows)
