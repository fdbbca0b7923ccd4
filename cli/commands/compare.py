"""`compare`: two systems clip by clip, or heads against a baseline."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Client
from cli.comparison import print_comparison, print_controlled
from cli.names import id_of
from cli.output import JsonOption, complete_ids
from cli.terminal import print_json


def compare(
    left: Annotated[
        str,
        typer.Argument(
            metavar="LEFT",
            help="Id of an experiment, the beginning of one, or its name.",
            show_default=False,
            autocompletion=complete_ids,
        ),
    ],
    right: Annotated[
        list[str],
        typer.Argument(
            metavar="RIGHT...",
            help="Another, or several, likewise.",
            show_default=False,
            autocompletion=complete_ids,
        ),
    ],
    split: Annotated[str, typer.Option(help="mean, 1, 2 or 3.")] = "mean",
    stream: Annotated[str, typer.Option(help="rgb, flow or two-stream.")] = "two-stream",
    clips: Annotated[
        int, typer.Option(min=0, max=1000, help="How many clips are named that one alone gets right.")
    ] = 100,
    controlled: Annotated[
        bool, typer.Option("--controlled", help="LEFT is a baseline, on whose features the others are heads.")
    ] = False,
    pool: Annotated[
        bool, typer.Option("--pool", help="Take the seeds of experiments along that differ in seeds alone.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare experiments on the same clips: what differs, by how much, and whether that is chance.

    Of more than two, and with --controlled, each has its gain over the first.
    """
    several = controlled or len(right) > 1
    with Client.connect() as client:
        left, right = id_of(client, left), [id_of(client, each) for each in right]
        if several:
            found = client.get("/compare/controlled", baseline=left, others=",".join(right), split=split, stream=stream)
        else:
            asked = {"left": left, "right": right[0], "split": split, "stream": stream}
            found = client.get("/compare", **asked, clips=clips, pool="true" if pool else None)
    if json:
        print_json(found)
    elif several:
        print_controlled(found)
    else:
        print_comparison(found)
