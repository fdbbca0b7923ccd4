"""The `twostream` command."""

from __future__ import annotations

import sys

import typer

from cli.client import CommandError
from cli.commands import cache, catalogue, check, experiments, fetch, fleet, local
from cli.output import print_json
from cli.stack.process import StackError

EPILOG = (
    "Exit codes: 0 fine; 1 failure, or an experiment did not succeed; 2 usage or invalid request; 3 not found; "
    "4 conflict; 130 interrupted."
)

app = typer.Typer(
    name="twostream",
    help="Train two-stream temporal action-recognition networks, and rank them.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: loading the formatted one takes longer than all else together
)
app.command()(local.up)
app.command()(local.demo)
app.command()(experiments.submit)
app.command()(experiments.watch)
app.command()(experiments.cancel)
app.command()(experiments.retry)
app.command("list")(experiments.listing)
app.command()(experiments.show)
app.command()(experiments.logs)
app.command()(catalogue.leaderboard)
catalogue.datasets.command()(check.check)
catalogue.datasets.command()(fetch.fetch)
app.add_typer(catalogue.datasets, name="dataset")
app.add_typer(cache.cache, name="cache")
app.command()(fleet.queue)
app.command()(fleet.workers)
app.command()(fleet.worker)


def main() -> None:
    """Run the command; errors of the API end it with a message and an exit code, never with a traceback."""
    try:
        app()
    except CommandError as error:
        if "--json" in sys.argv:
            print_json(error.problem)
        print(f"twostream: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except StackError as error:
        print(f"twostream: {error}", file=sys.stderr)
        sys.exit(1)
