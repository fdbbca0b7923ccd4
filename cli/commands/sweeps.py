"""`sweep SPEC.yaml`, and `sweep watch`, `show`, `list` and `cancel`."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import sweep_id_of
from cli.output import CursorOption, JsonOption, ago, measured, percent, print_more, print_table
from cli.terminal import plain, print_json, say, say_text
from cli.trial import print_sweep_dry_run
from services.metrics import PRIMARY
from services.words import counted

Json = dict[str, Any]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the sweep, or the beginning of one.", show_default=False)]


class Submitting(TyperGroup):
    """A group whose first word is a file where it is none of its commands: `sweep SPEC.yaml` is `sweep submit`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the command that is left out."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["submit", *args]
        return super().parse_args(ctx, args)


sweep = typer.Typer(
    cls=Submitting,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Search over the fields of an experiment: `sweep SPEC.yaml` begins it.",
)


@sweep.command("submit")
def submit(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.yaml", help="The sweep, YAML or JSON; - reads it from standard input.")
    ],
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has finished.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key begins it once, however often it is sent.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would try and what it may take; begin nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Begin a sweep; `submit` may be left out."""
    if dry_run and watch:
        raise CommandError("--watch: got it with --dry-run, allowed: one of the two", INVALID)
    with Client.connect() as client:
        if dry_run:
            foreseen = client.sweep(spec, idempotency_key=idempotency_key, dry_run=True)
            print_json(foreseen) if json else print_sweep_dry_run(cast("Json", foreseen))
            return
        answer = client.sweep(spec, idempotency_key=idempotency_key)
        if watch:
            _follow(client, answer["id"], json=json)
        elif json:
            print_json(answer)
        else:
            say(answer["id"])


@sweep.command("watch")
def watch(sweep: Id, json: JsonOption = False) -> None:
    """Show how trials end, until all have.

    Ctrl-C leaves the sweep running.
    """
    with Client.connect() as client:
        _follow(client, sweep, json=json)


@sweep.command("show")
def show(sweep: Id, json: JsonOption = False) -> None:
    """Show a sweep, its trials, and what mattered."""
    with Client.connect() as client:
        found = client.get(f"/sweeps/{sweep_id_of(client, sweep)}")
        address = f"{client.url}/sweeps/{found['id']}"
    if json:
        print_json(found)
        return
    print_sweep(found)
    say(address)


@sweep.command("list")
def listing(
    state: Annotated[str | None, typer.Option(help="Only sweeps in this state.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only sweeps on this dataset.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at the most.")] = 20,
    cursor: CursorOption = None,
    json: JsonOption = False,
) -> None:
    """List sweeps, newest first."""
    with Client.connect() as client:
        page = client.get("/sweeps", state=state, dataset=dataset, limit=limit, cursor=cursor)
    if json:
        print_json(page)
        return
    rows = (
        (each["id"], each["name"], each["dataset"], each["state"], _trials(each), ago(each["created_at"]))
        for each in page["items"]
    )
    print_table("sweeps", ("id", "name", "dataset", "state", "trials#", "begun#"), rows)
    options = {"state": state, "dataset": dataset, "limit": limit}
    print_more("sweeps", len(page["items"]), page["total"], page["next_cursor"], "sweep list", **options)


@sweep.command("cancel")
def cancel(sweep: Id, json: JsonOption = False) -> None:
    """Cancel a sweep, with all of its trials that run."""
    with Client.connect() as client:
        answer = client.post(f"/sweeps/{sweep_id_of(client, sweep)}/cancel", patient=True)
    print_json(answer) if json else say(f"{answer['id']}  {answer['state']}")


def print_sweep(found: Json) -> None:
    """Print a sweep in words and columns."""
    say(f"{found['id']}  {found['name']}")
    say(f"state    {found['state']}, {_trials(found)} trials")
    for name in ("recipe", "dataset", "message"):
        if found.get(name):
            say_text(f"{name:8} {plain(str(found[name]))}")
    fields = list(found["spec"]["space"])
    rows = (
        (each["number"], each["state"], percent(each["value"]), each["epochs"],
         *(json_.dumps(each["values"].get(name)) for name in fields), each["experiment_id"])
        for each in found["results"]
    )  # fmt: skip
    print_table("trials", ("trial#", "state", "accuracy#", "epochs#", *fields, "experiment"), rows, empty="none yet")
    for name, share in found["importance"].items():
        say(f"{percent(share)} of what is explained: {name}")
    say(f"{found['gpu_hours']:.2f} GPU hours")
    if found["best"] is not None:
        say(f"best     trial {found['best_trial']}: {found['best']['id']}, {found['best']['state']}")


def _trials(found: Json) -> str:
    return f"{sum(found['trials'].values())}/{found['planned']}"


def _follow(client: Client, sweep: str, *, json: bool) -> None:
    """Stay until a sweep has ended; tell each trial once, and in the end what the best one reached."""
    told: dict[object, str] = {}
    found: Any = client.wait_for_sweep(sweep, None if json else lambda seen: _tell(cast("Json", seen), told))
    if json:
        print_json(found)
    else:
        from cli.commands.experiments import reached

        say(f"{found['name']} ({found['id']}): {': '.join(filter(None, (found['state'], found['message'])))}")
        if found["best"] is not None:
            for line in reached(client.results(found["best"]["id"])):
                say(line)
        say(f"{client.url}/sweeps/{found['id']}")
    if found["state"] != "succeeded":
        raise typer.Exit(FAILURE)


def _tell(found: Json, told: dict[object, str]) -> None:
    """Say what has changed since the last time."""
    if "plan" not in told:
        told["plan"] = found["state"]
        most = counted(found["planned"], "trial")
        say(f"{found['name']} ({found['id']}): {most} at the most, of {', '.join(found['spec']['space'])}")
    for trial in found["results"]:
        if told.get(trial["number"]) != trial["state"]:
            told[trial["number"]] = trial["state"]
            say(f"trial {trial['number']}: {_words(trial)}")
    if found["best"] is not None and "best" not in told:
        told["best"] = found["best"]["id"]
        say(f"best: trial {found['best_trial']}, trained as a whole as {found['best']['id']}")


def _words(trial: Json) -> str:
    values = ", ".join(f"{name} = {json_.dumps(value)}" for name, value in trial["values"].items())
    if trial["state"] == "running":
        return f"running, {values}"
    if trial["value"] is None or trial["state"] == "pruned":
        return ": ".join(filter(None, (trial["state"], trial["message"])))
    return f"{trial['state']}, {measured(PRIMARY, trial['value'])} on held-out clips"
