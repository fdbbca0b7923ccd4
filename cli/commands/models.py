"""`export` and `predict`: a trained system as one file, and what it says of clips.

The command line has no networks, so that `predict` runs a process of the worker package, on this machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import id_of
from cli.output import JsonOption, percent, print_table
from cli.terminal import print_json, say, say_text
from services.stores.files import replacing

PREDICTOR = (sys.executable, "-m", "worker.prediction")
NEEDED = ("torch", "av", "cv2")
SplitOption = Annotated[int | None, typer.Option(min=1, max=3, help="Of this split; the first one if not given.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Of this seed; the first one if not given.")]


def export(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Id of the experiment, the beginning of one, or its name.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; ID-split1-seed0.zip and the like if not given."),
    ] = None,
    split: SplitOption = None,
    seed: SeedOption = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Write a folder instead, which mlflow.pyfunc.load_model reads.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write a trained system into one file.

    `twostream predict` and `models.load` read it, without a server.
    """
    with Client.connect() as client:
        found = client.experiment(experiment)
        experiment = found["id"]
        first = {name: found["spec"][f"{name}s"][0] for name in ("split", "seed")}
        split, seed = first["split"] if split is None else split, first["seed"] if seed is None else seed
        path = output or Path(f"{experiment}-split{split}-seed{seed}{'' if mlflow else '.zip'}")
        if mlflow:
            size = _fetch_for_mlflow(client, experiment, path, split, seed)
        else:
            size = _fetch(client, experiment, path, split, seed)
    if json:
        print_json({"id": experiment, "split": split, "seed": seed, "file": str(path), "bytes": size})
    else:
        say(str(path))


def predict(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Video files.", show_default=False)],
    model: Annotated[Path | None, typer.Option(help="A file that `twostream export` wrote.")] = None,
    experiment: Annotated[str | None, typer.Option(help="The experiment whose system predicts.")] = None,
    split: SplitOption = None,
    seed: SeedOption = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many classes of each clip.")] = 5,
    json: JsonOption = False,
) -> None:
    """Print the likeliest classes of clips.

    It computes on this machine, on a GPU where there is one.
    """
    if (model is None) == (experiment is None):
        raise CommandError("--model or --experiment: allowed: one of the two", INVALID)
    if model is not None and (split is not None or seed is not None):
        raise CommandError("--split and --seed: allowed with --experiment; a file is of one split and seed", INVALID)
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise CommandError(f"predict needs {', '.join(missing)}; hint: pip install 'twostream[worker]'", FAILURE)
    with tempfile.TemporaryDirectory(prefix="twostream-") as folder:
        if experiment is not None:
            model = Path(folder) / "model.zip"
            with Client.connect() as client:
                _fetch(client, id_of(client, experiment), model, split, seed)
        found = _predicted(["--model", str(model), "--top", str(top), "--", *map(str, clips)])
    if json:
        print_json(found)
        return
    for each in found:
        rows = [(entry["class"], percent(entry["probability"])) for entry in each["top"]]
        print_table(each["clip"], ("class", "probability#"), rows)


def _fetch_for_mlflow(client: Client, experiment: str, folder: Path, split: int, seed: int) -> int:
    """Write a system as a model of MLflow into a new folder; return the bytes of its bundle."""
    if folder.exists():
        raise CommandError(f"--output: got {str(folder)!r}, allowed: a folder that is not there yet", INVALID)
    from services.bundles import mlflow_model

    with tempfile.TemporaryDirectory(prefix="twostream-") as temporary:
        bundle = Path(temporary) / "model.zip"
        size = _fetch(client, experiment, bundle, split, seed)
        mlflow_model.write(folder, bundle)
    return size


def _fetch(client: Client, experiment: str, path: Path, split: int | None, seed: int | None) -> int:
    """Write the bundle of a system into a file, which is whole or not there; return its bytes."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise CommandError(f"--output: got {str(path)!r}, allowed: a file in a folder that is there", INVALID)
    with replacing(path) as file:
        client.receive(f"/experiments/{experiment}/model", file, split=split, seed=seed)
    return path.stat().st_size


def _predicted(arguments: list[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryFile("w+") as errors:  # a full pipe would block the process
        process = subprocess.run(
            [*PREDICTOR, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, check=False
        )
        errors.seek(0)
        words = errors.read().strip()
    if process.returncode:
        raise CommandError(words.splitlines()[-1] if words else f"it ended with status {process.returncode}", FAILURE)
    if words:
        say_text(words, error=True)
    return [json.loads(line) for line in process.stdout.splitlines()]
