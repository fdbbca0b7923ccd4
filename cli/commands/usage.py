"""`usage`: what experiments and their owners used of the machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.names import id_of
from cli.output import JsonOption, print_table
from cli.terminal import print_json, say
from services.words import counted

Json = dict[str, Any]
HOURS = ("GPU hours#", "shared#", "failed#", "CPU hours#", "hours#", "attempts#")


def usage(
    owner: Annotated[str | None, typer.Option(help="Only of this user's experiments.")] = None,
    experiment: Annotated[str | None, typer.Option(help="Only of this one, by id or name.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only of experiments on this dataset.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Up to now; 30 if not given, of one experiment all.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Experiments at the most.")] = 20,
    json: JsonOption = False,
) -> None:
    """Add up hours of GPUs and processors by owner and experiment.

    GPU hours are those for which stages held GPUs; "shared" is what others needed too, "failed" what left no result.
    """
    with Client.connect() as client:
        chosen = None if experiment is None else id_of(client, experiment)
        wanted = {"owner": owner, "experiment": chosen, "dataset": dataset, "days": days, "limit": limit}
        found = client.get("/usage", **wanted)
    if json:
        print_json(found)
        return
    if experiment is None:
        print_table("by owner", ("owner", *HOURS), ((row["owner"], *_hours(row)) for row in found["owners"]))
    rows = ((row["id"], row["name"], row["owner"], *_hours(row)) for row in found["experiments"])
    print_table("by experiment", ("id", "name", "owner", *HOURS), rows)
    total = found["total"]
    line = f"{total['gpu_hours']:.2f} GPU hours and {total['cpu_hours']:.2f} CPU hours, each attempt once"
    say(f"since {found['since'][:16].replace('T', ' ')}: {line}")
    if total["unmeasured"]:
        say(f"{counted(total['unmeasured'], 'attempt', 'is', 'are')} no part of the CPU hours: nobody measured them")


def _hours(row: Json) -> Sequence[object]:
    names = ("gpu_hours", "shared_gpu_hours", "failed_gpu_hours", "cpu_hours", "hours")
    return (*(f"{row[name]:.2f}" for name in names), row["attempts"])
