"""`leaderboard`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client import Client
from cli.output import CursorOption, JsonOption, LimitOption
from cli.terminal import print_json, say_text
from services.metrics import METRICS, PRIMARY


def leaderboard(
    dataset: Annotated[str, typer.Option(help="Name of the dataset.")] = "motion_shapes",
    split: Annotated[str, typer.Option(help="mean, 1, 2 or 3.")] = "mean",
    stream: Annotated[str, typer.Option(help="rgb, flow or two-stream.")] = "two-stream",
    metric: Annotated[str, typer.Option(help=f"One of {', '.join(METRICS)}.")] = PRIMARY,
    model: Annotated[str | None, typer.Option(help="Kind of network, such as ts_lstm.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Test protocol; the one with most entries if none is named.")
    ] = None,
    vary: Annotated[
        str | None, typer.Option(help="Fields of protocols to rank across, separated by commas, such as frames,crops.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Over how many seeds, at the least.")] = None,
    source: Annotated[str | None, typer.Option(help="trained, ensemble or uploaded.")] = None,
    revision: Annotated[
        int | None, typer.Option(min=1, help="Revision of the dataset; the present one if none is named.")
    ] = None,
    selected_on_test: Annotated[
        str,
        typer.Option(help="exclude, or flag, which ranks epochs that were chosen on the test list among the others."),
    ] = "exclude",
    published: Annotated[
        bool, typer.Option("--published", help="Show what the papers print too, below and not ranked.")
    ] = False,
    limit: LimitOption = 100,
    cursor: CursorOption = None,
    format: Annotated[  # noqa: A002 - the name of the option
        str | None, typer.Option(help="csv, markdown or latex, in place of columns for this terminal.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Rank the measured results of a dataset."""
    options = {"split": split, "stream": stream, "metric": metric, "protocol": protocol}
    options |= {"model": model, "vary": vary, "source": source, "seeds": None if seeds is None else str(seeds)}
    options |= {"selected_on_test": None if selected_on_test == "exclude" else selected_on_test}
    options |= {"revision": None if revision is None else str(revision), "limit": str(limit)}
    options |= {"published": "true" if published else None}
    with Client.connect() as client:
        if format is not None:
            say_text(
                client.text("/leaderboard", dataset=dataset, **options, cursor=cursor, format=format).removesuffix("\n")
            )
            return
        board = client.leaderboard(dataset, **options, cursor=cursor)
    if json:
        print_json(board)
    else:
        from cli.board import print_board, print_published

        print_board(board, {"dataset": dataset, **options, "published": None})
        print_published(board)
