"""`figure`: a picture of an experiment, as SVG or PNG, or a film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import id_of
from cli.output import Id, JsonOption, print_table
from cli.terminal import print_json, say
from services.stores.files import write_atomically

FORMATS, FILM = (".svg", ".png"), ".webp"


def figure(
    experiment: Id,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which figure; without it they are listed.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="File to write, .svg, .png or .webp (a film); NAME.png if not given."),
    ] = None,
    stream: Annotated[str | None, typer.Option(help="rgb, flow or two-stream.")] = None,
    split: Annotated[int | None, typer.Option(help="Of all splits together if not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all seeds together if not given.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Experiment over which `gain` is shown.")] = None,
    clip: Annotated[
        str | None, typer.Option(help="Test clip that attention, memory, tubes or flow are of; the first if not given.")
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    json: JsonOption = False,
) -> None:
    """Draw a figure of an experiment, or list those that it has."""
    if name is None:
        _list(experiment, json=json)
        return
    file = drawn_file(output or Path(f"{name}.png"), (*FORMATS, FILM))
    form = cast('Literal["svg", "png", "webp"]', file.suffix[1:])
    with Client.connect() as client:
        content = client.figure(
            experiment,
            name,
            stream=stream,
            split=split,
            seed=seed,
            baseline=baseline,
            clip=clip,
            theme=theme,
            form=form,
        )
    write_drawing(file, content, json=json)


def drawn_file(file: Path, formats: Sequence[str] = FORMATS) -> Path:
    """Return the file of a picture, whose name says its form, or end with what is allowed."""
    if file.suffix not in formats:
        raise CommandError(f"--output: got {str(file)!r}, allowed: a name that ends in {' or '.join(formats)}", INVALID)
    return file


def write_drawing(file: Path, content: bytes, *, json: bool) -> None:
    """Write a picture, and say where."""
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
