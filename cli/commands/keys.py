"""`key issue|list|rotate|revoke`: who may do what beyond loopback."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client import Client
from cli.output import JsonOption, print_table
from cli.terminal import print_json, say
from cli.transport import step

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Issue keys, list, rotate and revoke them.")

SCOPES = "read, submit, datasets or administrator"
Owner = Annotated[str, typer.Argument(metavar="OWNER", help="Whose key.", show_default=False)]
Json = dict[str, Any]


@keys.command()
def issue(
    owner: Owner,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it allows: {SCOPES}; may be given again. Without it: read, submit.")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days until it expires; never if not given.")] = None,
    json: JsonOption = False,
) -> None:
    """Issue the key of an owner and print it, this once.

    Needs the administrator's token in TWOSTREAM_API_TOKEN, as all commands about keys do.
    """
    body: Json = {"owner": owner, "days": days} | ({"scopes": scope} if scope else {})
    with Client.connect() as client:
        _show(client.post("/keys", body), json=json)


@keys.command()
def rotate(owner: Owner, json: JsonOption = False) -> None:
    """Replace an owner's key by another of the same scopes and lifetime, and print it, this once.

    The key before ends at once.
    """
    with Client.connect() as client:
        _show(client.post(f"/keys/{step(owner)}/rotate"), json=json)


@keys.command()
def revoke(owner: Owner, json: JsonOption = False) -> None:
    """End an owner's key at once; experiments and datasets stay theirs."""
    with Client.connect() as client:
        answer = client.post(f"/keys/{step(owner)}/revoke")
    if json:
        print_json(answer)
    else:
        say(f"{answer['owner']}  {answer['state']}")


@keys.command("list")
def listing(json: JsonOption = False) -> None:
    """List the keys, also those that have expired or were revoked."""
    with Client.connect() as client:
        found = client.get("/keys")
    if json:
        print_json(found)
        return
    rows = ((key["owner"], key["state"], key["scopes"], key["created_at"], key["expires_at"]) for key in found)
    print_table("keys", ("owner", "state", "scopes", "issued", "expires"), rows)


def _show(answer: Json, *, json: bool) -> None:
    if json:
        print_json(answer)
    else:
        say(answer["key"])
