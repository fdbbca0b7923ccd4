"""`dataset add|list`."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli.client import INVALID, Client, CommandError
from cli.output import JsonOption, print_table
from cli.terminal import print_json, say
from services.datasets.annotations import Annotations, read_lines
from services.datasets.layouts import LAYOUTS, read_annotations
from services.errors import DataError
from services.words import counted

datasets = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Register datasets, list them.")


@datasets.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name for specs and leaderboards.")],
    root: Annotated[Path, typer.Option(help="Folder of the clips, <Class>/<clip>.avi.")],
    splits: Annotated[Path, typer.Option(help="Folder of the official lists.")],
    layout: Annotated[
        str, typer.Option(help="Of the lists: ucf101 (classInd.txt, ...) or hmdb51 (<class>_test_split1.txt, ...).")
    ] = "ucf101",
    exclude: Annotated[
        Path | None, typer.Option(help="File of clips to leave out, one a line, as the lists name them.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help="File of UCF101-24's boxes: pyannot.pkl or UCF101v2-GT.pkl.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Register an existing name anew; its files are read again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Register a dataset in UCF101's or HMDB51's layout; the folders must be there for the API and the workers too."""
    require_folders(root, splits)
    lists = read_lists(splits, layout)
    excluded = [] if exclude is None else read_excluded(exclude, lists)
    boxed = 0 if boxes is None else count_boxed(boxes, lists)
    body = {
        "name": name,
        "root": str(root.resolve()),
        "annotations": str(splits.resolve()),
        "layout": layout,
        "splits": sorted(lists.splits),
        "exclude": excluded,
        "boxes": "" if boxes is None else str(boxes.resolve()),
        "replace": replace,
    }
    with Client.connect() as client:
        answer = client.post("/datasets", body)
    if json:
        print_json(answer)
    else:
        counts = f"{counted(len(lists.classes), 'class')}, {counted(len(lists.named_clips()) - len(excluded), 'clip')}"
        counts += f" ({len(excluded)} left out)" if excluded else ""
        counts += f", {boxed} with boxes" if boxes is not None else ""
        say(f"{answer['name']}: revision {answer['revision']}, {counts}, splits {', '.join(map(str, lists.splits))}")


def require_folders(root: Path, splits: Path) -> None:
    """Refuse what is no folder of clips or of lists."""
    for option, folder in (("--root", root), ("--splits", splits)):
        if not folder.is_dir():
            raise CommandError(f"{option}: got '{folder}', allowed: a folder", INVALID)


def read_lists(splits: Path, layout: str) -> Annotations:
    """Read the lists of a dataset; where they are of another layout, the error says so."""
    readers = {known: partial(read_annotations, known, splits) for known in LAYOUTS}
    if layout not in readers:
        raise CommandError(f"--layout: got {layout!r}, allowed: {', '.join(LAYOUTS)}", INVALID)
    try:
        return readers[layout]()
    except DataError as error:
        for other, read in readers.items():
            with suppress(DataError):
                read()
                raise CommandError(f"{error}; hint: --layout {other} reads these lists", INVALID) from error
        raise CommandError(str(error), INVALID) from error


def read_excluded(file: Path, lists: Annotations) -> list[str]:
    """Return the clips that a file names; each must stand in the lists, and each split must keep some."""
    named = {clip.path for clip in lists.named_clips()}
    found = set()
    try:
        for line, path in read_lines(file):
            if path not in named:
                raise line.wrong(f"got {path!r}", ", allowed: a clip of the lists")
            found.add(path)
        lists.without(found)
    except DataError as error:
        raise CommandError(f"--exclude: {error}", INVALID) from error
    return sorted(found)


def count_boxed(file: Path, lists: Annotations) -> int:
    """Return how many clips of the lists a file has boxes of; its classes must be theirs, and all of it right."""
    from services.datasets.boxes import read_boxes, require_known

    try:
        return require_known(file, read_boxes(file), lists.classes, [clip.id for clip in lists.named_clips()])
    except DataError as error:
        raise CommandError(f"--boxes: {error}", INVALID) from error


@datasets.command("list")
def listing(json: JsonOption = False) -> None:
    """List the registered datasets."""
    with Client.connect() as client:
        found = client.get("/datasets")
    if json:
        print_json(found)
        return
    names = ("name", "num_classes", "num_clips", "excluded", "splits", "revision", "root")
    rows = ([len(d[name]) or None if name == "excluded" else d[name] or None for name in names] for d in found)
    print_table("datasets", ("name", "classes#", "clips#", "left out#", "splits", "revision#", "folder"), rows)
