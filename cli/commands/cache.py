"""`cache list|gc`: what stages left on disk, and dropping what nobody needs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.client import Client
from cli.output import JsonOption, ago, print_table, progress_bar
from cli.terminal import print_json, say
from services.cache.sizes import word_bytes

cache = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List what stages left on disk, drop it.")

KINDS = "index, flow, features, models, scores, frames or leftovers"
COLUMNS = ("kind", "key", "what", "size#", "last used#", "used by", "may go")
Json = dict[str, Any]


@cache.command("list")
def listing(
    kind: Annotated[str | None, typer.Option(help=f"Only {KINDS}.")] = None,
    json: JsonOption = False,
) -> None:
    """List what stages left on disk, unused for longest first, and what of it `gc` may drop."""
    with Client.connect() as client:
        found = client.get("/cache", kind=kind)
    if json:
        print_json(found)
        return
    print_table("cache", COLUMNS, map(_row, found["entries"]), empty="empty")
    sizes = ", ".join(f"{name} {word_bytes(size)}" for name, size in found["bytes_by_kind"].items())
    say(f"total: {word_bytes(found['bytes'])}" + (f" ({sizes})" if sizes else ""))


@cache.command()
def gc(
    max_size: Annotated[str, typer.Option(help="What may stay: bytes, or 200GB, 1.5TB, 64GiB.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"Take from {KINDS}; may be given again. Without it: flow, features, frames, leftovers."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, drop nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Drop what was unused for longest until the rest fits; what a stage that waits or runs needs stays.

    The size bounds the kinds that are named, or everything. Indexes, models and scores go only when they are named.
    """
    body: Json = {"max_size": max_size, "kinds": kind or [], "dry_run": dry_run}
    with Client.connect() as client:
        report = _collect(client, body)
    if json:
        print_json(report)
        return
    title = "would be dropped" if dry_run else "dropped"
    print_table(title, COLUMNS[:5], (_row(entry)[:5] for entry in report["taken"]), empty="nothing")
    before, after, bound = (word_bytes(report[name]) for name in ("before_bytes", "after_bytes", "max_bytes"))
    say(f"{before} before, {after} {'would stay' if dry_run else 'stay'}, allowed: {bound}")
    if not report["fits"]:
        say("the rest may not go; hint: twostream cache list says why")


def _collect(client: Client, body: Json) -> Json:
    """Ask until the collection is through; return one report for all its parts."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn

    reports: list[Json] = []
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with progress_bar(*columns) as shown:
        bar = shown.add_task("dropping", total=None)
        while not reports or reports[-1]["more"]:
            reports.append(client.post("/cache/gc", body))
            before, after = reports[0]["before_bytes"], reports[-1]["after_bytes"]
            shown.update(bar, completed=before - after, total=max(0, before - reports[0]["max_bytes"]))
    taken = [entry for report in reports for entry in report["taken"]]
    whole = {"before_bytes": before, "freed_bytes": sum(report["freed_bytes"] for report in reports), "taken": taken}
    return reports[-1] | whole


def _row(entry: Json) -> tuple[object, ...]:
    return (
        entry["kind"],
        entry["key"][:12] if len(entry["key"]) == 64 else entry["key"],
        entry["label"],
        word_bytes(entry["bytes"]),
        ago(entry["used_at"]),
        entry["experiments"],
        entry["reason"] or "yes",
    )
