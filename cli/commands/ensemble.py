"""`ensemble suggest`: which finished streams go well together."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client import Client
from cli.output import JsonOption, percent, print_table
from cli.terminal import print_json, say

ensemble = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Ensembles of what is there.")


@ensemble.callback()
def _ensemble() -> None:
    """Keep `suggest` a command of its own."""


@ensemble.command("suggest")
def suggest(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Its name.", show_default=False)],
    split: Annotated[int, typer.Option(min=1, max=3, help="Whose scores.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the experiments.")] = 0,
    method: Annotated[str, typer.Option(help="probabilities, logits or product.")] = "probabilities",
    members: Annotated[int, typer.Option(min=1, max=16, help="At the most.")] = 5,
    selected_on_test: Annotated[
        str, typer.Option(help="Of streams whose epoch was chosen on the test list: exclude or flag.")
    ] = "exclude",
    json: JsonOption = False,
) -> None:
    """Suggest an ensemble of finished streams.

    Each member is the one with which the accuracy is highest. It is chosen on groups of test clips, and measured on
    others.
    """
    asked: dict[str, str | int | None] = {
        "dataset": dataset,
        "split": split,
        "seed": seed,
        "method": method,
        "members": members,
    }
    if selected_on_test != "exclude":
        asked["selected_on_test"] = selected_on_test
    with Client.connect() as client:
        found = client.get("/ensembles/suggest", **asked)
    print_json(found) if json else _show(found)


def _show(found: dict[str, Any]) -> None:
    candidates = found["candidates"]
    rows = (
        (
            size["members"],
            candidates[size["added"]]["experiment"] or candidates[size["added"]]["scores"][:12],
            candidates[size["added"]]["stream"],
            candidates[size["added"]]["name"],
            percent(size["on_test"]),
            percent(size["held_out"]),
        )
        for size in found["curve"]
    )
    columns = ("members#", "added", "stream", "name", "on test#", "held out#")
    print_table(f"split {found['split']}, seed {found['seed']}, {found['method']}", columns, rows)
    for each in found["left_out"]:
        say(f"left out: {each['name']}: {each['reason']}")
    gain, tuning = 100 * found["gain_held_out"], 100 * found["tuning"]
    say(
        f"suggested: {found['size']} of {len(candidates)}, chosen on {found['folds']} folds of {found['groups']} groups"
    )
    say(f"gain over the best one on groups that did not choose: {gain:.2f} points; {tuning:.2f} more are tuning")
    if not found["complete"]:
        say("the time was over before all sizes were tried")
    if found["spec"] is not None:
        say("submit it with: twostream ensemble suggest ... --json, whose `spec` is an experiment")
