"""`figure`: a picture of an experiment, as SVG or PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import id_of
from cli.output import JsonOption, print_table
from cli.terminal import print_json, say
from services.stores.files import write_atomically

FORMATS = (".svg", ".png")


def figure(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id of the experiment, the beginning of one, or its name.", show_default=False
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which figure; without it they are listed.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write, .svg or .png; NAME.png if not given.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="rgb, flow or two-stream.")] = None,
    split: Annotated[int | None, typer.Option(help="Of all splits together if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all seeds together if not given.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Experiment over which `gain` is shown.")] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    json: JsonOption = False,
) -> None:
    """Draw a figure of an experiment, or list those that it has."""
    if name is None:
        _list(experiment, json=json)
        return
    file = output or Path(f"{name}.png")
    if file.suffix not in FORMATS:
        raise CommandError(f"--output: got {str(file)!r}, allowed: a name that ends in {' or '.join(FORMATS)}", INVALID)
    form: Literal["svg", "png"] = "svg" if file.suffix == ".svg" else "png"
    with Client.connect() as client:
        content = client.figure(
            experiment, name, stream=stream, split=split, seed=seed, baseline=baseline, theme=theme, form=form
        )
    try:
        write_atomically(file, content)
    except OSError as error:
        raise CommandError(f"{file}: {error}", FAILURE) from error
    print_json({"file": str(file), "bytes": len(content)}) if json else say(str(file))


def _list(experiment: str, *, json: bool) -> None:
    with Client.connect() as client:
        found = client.get(f"/experiments/{id_of(client, experiment)}/figures")
    if json:
        print_json(found)
        return
    rows = ((each["name"], each["title"], "yes" if each["available"] else each["reason"]) for each in found)
    print_table("figures", ("name", "shows", "there"), rows)
