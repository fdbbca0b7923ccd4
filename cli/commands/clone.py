"""`clone`: an experiment's spec with changes, submitted anew; `open`: its page."""

from __future__ import annotations

import webbrowser
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cli.client import INVALID, Client, CommandError
from cli.commands.experiments import page_of, send
from cli.output import Id, JsonOption
from cli.terminal import print_json, say

Json = dict[str, Any]


def clone(
    experiment: Id,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Such as training.epochs=20; may be given again."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay until it has finished.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and what it may take; queue nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Submit an experiment's spec anew, with changes.

    Values are YAML; what is not changed is as it was, the name and the recipe too. A dataset is not registered anew
    again, unless refresh=true is set.
    """
    with Client.connect() as client:
        found = client.experiment(experiment)
        spec = changed({**found["spec"], "refresh": False}, changes or ())
        send(client, _of_recipe(spec, found["recipe"]), watch=watch, dry_run=dry_run, json=json)


def open_page(
    experiment: Id,
    only_print: Annotated[bool, typer.Option("--print", help="Print the address alone.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the address of an experiment's page, and open it in the browser."""
    with Client.connect() as client:
        found = client.experiment(experiment)
        address = page_of(client, found["id"])
    print_json({"id": found["id"], "url": address}) if json else say(address)
    if not only_print and not webbrowser.open(address):
        say("no browser is known here; hint: BROWSER names one", error=True)


def changed(spec: Json, changes: Iterable[str]) -> Json:
    """Return a spec with changes.

    Args:
        spec: which stays as it is.
        changes: each a dotted field, ``=``, and its value in YAML.

    Raises:
        CommandError: one has not this form, or leads through what has no fields.
    """
    from cli.spec_file import read_value

    for change in changes:
        field, equals, value = change.partition("=")
        if not equals or not all(field.split(".")):
            raise CommandError(f"--set: got {change!r}, allowed: FIELD=VALUE, such as training.epochs=20", INVALID)
        spec = _with(spec, field.split("."), read_value(value, f"--set {field}"), field)
    return spec


def _of_recipe(spec: Json, recipe: str | None) -> Json:
    """Return a body that submits a spec as one of a recipe; the spec itself where there is none, or it is wrong."""
    if recipe is None:
        return spec
    from services.recipes.catalogue import resolve
    from services.recipes.difference import body

    try:
        whole = resolve(spec)[0].model_dump(mode="json")
    except ValueError:  # which the API words
        return spec
    return {**body(whole, recipe), "refresh": whole["refresh"]}


def _with(container: Any, steps: list[str], value: Any, field: str) -> Any:
    if not steps:
        return value
    first, *rest = steps
    if isinstance(container, list):
        if not first.isdecimal() or int(first) >= len(container):
            allowed = f"one of its {len(container)} places, from 0"
            raise CommandError(f"--set {field}: got {first!r}, allowed: {allowed}", INVALID)
        index = int(first)
        return [_with(each, rest, value, field) if at == index else each for at, each in enumerate(container)]
    if container is not None and not isinstance(container, dict):
        raise CommandError(f"--set {field}: got {first!r}, allowed: no field below {container!r}", INVALID)
    fields: Json = container or {}
    return {**fields, first: _with(fields.get(first), rest, value, field)}
