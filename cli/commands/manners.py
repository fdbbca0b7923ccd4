"""`tag`, `note`, `rename`, `archive`, `delete` and `withdraw`: what is said of an experiment after it was submitted."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.answers import ExperimentDetail
from cli.client import INVALID, Client, CommandError
from cli.names import id_of
from cli.output import Id, JsonOption
from cli.terminal import print_json, say, say_text

Json = dict[str, Any]


def tag(
    experiment: Id,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="TAG...", help="To add: letters, digits and ._:/@+-.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to remove; may be given again.")] = None,
    json: JsonOption = False,
) -> None:
    """Add tags to an experiment and remove some; print those that it has."""
    found = _edit(experiment, {"tags": {"add": tags or [], "remove": remove or []}} if tags or remove else {})
    print_json(found) if json else say(f"{found['id']}  {', '.join(found['tags']) or 'no tags'}")


def note(
    experiment: Id,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="In place of the note; - reads it, '' removes it.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a note beside an experiment, or print it."""
    if text == "-":
        text = sys.stdin.read().strip()
    found = _edit(experiment, {} if text is None else {"note": text})
    print_json(found) if json else say_text(found["note"] or "no note")


def rename(
    experiment: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Give an experiment another name, on leaderboards too.

    Its spec stays as it was submitted.
    """
    _print(_edit(experiment, {"name": name}), json=json)


def archive(
    experiment: Id,
    undo: Annotated[bool, typer.Option("--undo", help="Put it back.")] = False,
    json: JsonOption = False,
) -> None:
    """Have lists leave an experiment out.

    `twostream list --archived` shows such; leaderboards keep them.
    """
    found = _edit(experiment, {"archived": not undo})
    print_json(found) if json else say(f"{found['id']}  {'archived' if found['archived'] else 'not archived'}")


def delete(
    experiment: Id,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete a finished experiment and its results.

    Stages stay for who shares them. What others have as a member, or start from, is not deleted before those.
    """
    with Client.connect() as client:
        found = client.experiment(experiment)
        named = f"{found['id']} ({found['name']})"
        if not yes:
            _confirm(f"delete {named} and its results for good?")
        gone = client.delete(f"/experiments/{found['id']}")
    print_json(gone) if json else say(f"{gone['id']}  deleted")


def withdraw(
    experiment: Id,
    reason: Annotated[
        str | None, typer.Argument(metavar="REASON", help="Which the leaderboards show.", show_default=False)
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: it is ranked again.")] = False,
    json: JsonOption = False,
) -> None:
    """Withdraw an experiment from the leaderboards, which show the reason."""
    if undo == (reason is not None):
        raise CommandError("withdraw: allowed: a REASON, or --undo", INVALID)
    with Client.connect() as client:
        path = f"/experiments/{id_of(client, experiment)}"
        found = client.post(f"{path}/reinstate") if undo else client.post(f"{path}/withdraw", {"reason": reason})
    print_json(found) if json else say(f"{found['id']}  {'withdrawn' if found['withdrawn'] else 'ranked again'}")


def _edit(experiment: str, changes: Json) -> ExperimentDetail:
    """Change an experiment, or look at it where nothing is to change."""
    with Client.connect() as client:
        if not changes:
            return client.experiment(experiment)
        found: ExperimentDetail = client.patch(f"/experiments/{id_of(client, experiment)}", changes)
        return found


def _print(found: ExperimentDetail, *, json: bool) -> None:
    print_json(found) if json else say(f"{found['id']}  {found['name']}")


def _confirm(question: str) -> None:
    """Ask on a terminal; a script says --yes."""
    if not sys.stdin.isatty():
        raise CommandError("--yes: nothing, allowed: --yes where nobody can be asked", INVALID)
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)
