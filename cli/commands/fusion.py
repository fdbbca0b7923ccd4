"""`fusion sweep`: what the weights of a fusion are worth."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client import Client
from cli.names import id_of
from cli.output import Id, JsonOption, percent, print_table
from cli.terminal import print_json, say

fusion = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What the weights of a fusion are worth.")


@fusion.callback()
def _fusion() -> None:
    """Keep `sweep` a command of its own."""


@fusion.command("sweep")
def sweep(
    experiment: Id,
    member: Annotated[int, typer.Option(min=-1, max=15, help="The system to sweep, from 0; -1 is the last.")] = -1,
    split: Annotated[int | None, typer.Option(min=1, max=3, help="Only this split.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the accuracy over the weight of one system, and how much of the best weight's gain is tuning.

    A weight is chosen on the test set, and on all groups of clips but the one that it is measured on.
    """
    with Client.connect() as client:
        found = client.get(f"/experiments/{id_of(client, experiment)}/fusion/sweep", member=member, split=split)
    if json:
        print_json(found)
        return
    for each in found:
        _show(each)


def _show(found: dict[str, Any]) -> None:
    swept, best = found["systems"][found["member"]], found["best_on_test"]
    say(f"split {found['split']}, seed {found['seed']}, {found['method']}, weight of: {swept}")
    curve = [(f"{point['weight']:.2f}", percent(point["top1"])) for point in found["curve"]]
    print_table("top-1 by weight", ("weight#", "top-1#"), curve)
    chosen = found["held_out_weights"]
    rows = [
        ("the experiment's own", None, percent(found["declared"])),
        ("equal", None, percent(found["equal"])),
        ("chosen on the test set", f"{best['weight']:.2f}", percent(best["top1"])),
        ("chosen on other groups", f"{min(chosen):.2f} to {max(chosen):.2f}", percent(found["held_out"])),
    ]
    print_table("weights", ("weights", "of it#", "top-1#"), rows)
    gain, tuning = 100 * found["gain_on_test"], 100 * found["tuning"]
    say(f"gain over equal weights on the test set: {gain:.2f} points, of which {tuning:.2f} are tuning")
