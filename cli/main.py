"""The `twostream` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.errors import CommandError, StackError
from cli.lazy import Commands, Module
from cli.terminal import print_json, say, say_text, take_any_letter
from cli.values import read_plainly
from services.proxies import spare_local

EPILOG = (
    "Exit codes: 0 fine; 1 failure, or an experiment did not succeed; 2 usage or invalid request; 3 not found; "
    "4 conflict; 130 interrupted."
)

cache = Module("cache")
check = Module("check")
clone = Module("clone")
compare = Module("compare")
datasets = Module("datasets")
ensemble = Module("ensemble")
experiments = Module("experiments")
fetch = Module("fetch")
figure = Module("figure")
fleet = Module("fleet")
fusion = Module("fusion")
keys = Module("keys")
leaderboard = Module("leaderboard")
local = Module("local")
manners = Module("manners")
models = Module("models")
papers = Module("papers")
scores = Module("scores")
sweeps = Module("sweeps")
usage = Module("usage")

app = Commands(
    name="twostream",
    help="Train two-stream temporal action-recognition networks, and rank them.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: loading the formatted one takes longer than all else together
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"twostream {version('twostream')}")
        raise typer.Exit


@app.callback()
def _twostream(
    shown: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train two-stream temporal action-recognition networks, and rank them."""


app.command()(local.up)
app.command()(local.demo)
app.command()(experiments.submit)
app.command()(clone.clone)
app.command()(experiments.watch)
app.command()(experiments.cancel)
app.command()(experiments.retry)
app.command("list")(experiments.listing)
app.command()(experiments.show)
app.command("open")(clone.open_page)
app.command()(experiments.results)
app.command()(manners.tag)
app.command()(manners.note)
app.command()(manners.rename)
app.command()(manners.archive)
app.command()(manners.withdraw)
app.command()(manners.delete)
app.command()(experiments.report)
app.command()(experiments.logs)
app.command()(models.export)
app.command()(models.predict)
app.command()(models.register)
app.command()(figure.figure)
app.command()(leaderboard.leaderboard)
app.command()(compare.compare)
datasets.datasets.command()(check.check)
datasets.datasets.command()(fetch.fetch)
app.add_typer(datasets.datasets, name="dataset")
app.add_typer(papers.papers, name="papers")
app.add_typer(scores.scores, name="scores")
app.add_typer(fusion.fusion, name="fusion")
app.add_typer(ensemble.ensemble, name="ensemble")
app.add_typer(sweeps.sweep, name="sweep")
app.add_typer(cache.cache, name="cache")
app.add_typer(keys.keys, name="key")
app.command()(fleet.queue)
app.command()(fleet.workers)
app.command()(usage.usage)
app.command()(fleet.worker)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; errors of the API and of files end it with a message and an exit code, with no traceback.

    Args:
        arguments: of the command; those of this process when None.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if arguments is None:  # a process of its own, which has no event loop: HTTPX's part for one takes long to load
        sys.modules.setdefault("anyio", None)  # type: ignore[arg-type]
    if sys.stdout is None:  # closed by the caller: `>&-`
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    take_any_letter()
    spare_local()
    try:
        _command(words)(words, prog_name="twostream")
    except CommandError as error:
        if "--json" in words:
            print_json(error.problem)
        say_text(f"twostream: {error}", error=True)
        sys.exit(error.exit_code)
    except (StackError, OSError) as error:  # the latter: a full disk behind standard output, mostly
        say_text(f"twostream: {error}", error=True)
        sys.exit(1)


def _command(words: Sequence[str]) -> Any:
    """Return the command of these words, with no other beside it where one is named: to load all of them takes long."""
    named = words[0] if words else ""
    alone = named in app.names or named == "--version"
    return read_plainly(typer.main.get_command(app.only(named) if alone else app))
