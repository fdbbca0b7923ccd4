"""`export`, `predict`, `register`: a trained system as one file, what it says of clips, and as a version in MLflow.

The command line has no networks, so that what needs them runs a process of the worker package, on this machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from cli.client import FAILURE, INVALID, Client, CommandError
from cli.names import id_of
from cli.output import ID, Id, JsonOption, complete_ids, percent, print_table
from cli.terminal import print_json, say, say_text
from services.stores.files import replacing

PREDICTOR = (sys.executable, "-m", "worker.prediction")
NEEDED = {
    "bundle": (),
    "mlflow": (),
    "torch": ("torch", "av", "cv2"),
    "onnx": ("torch", "av", "cv2", "onnx", "onnxscript"),
}
Form = Literal["bundle", "mlflow", "torch", "onnx"]
FORMS = get_args(Form)
SplitOption = Annotated[int | None, typer.Option(min=1, max=3, help="Of this split; the first one if not given.")]
SeedOption = Annotated[int | None, typer.Option(min=0, help="Of this seed; the first one if not given.")]
ModelOption = Annotated[Path | None, typer.Option(help="A file that `twostream export` wrote.")]


def export(
    experiment: Annotated[
        str | None, typer.Argument(metavar="ID", help=ID, show_default=False, autocompletion=complete_ids)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or folder to write; ID-split1-seed0.zip and the like if not given."),
    ] = None,
    split: SplitOption = None,
    seed: SeedOption = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="bundle: one file; mlflow: a folder of it; torch (torch.export) or onnx: a folder of programs.",
        ),
    ] = "bundle",
    mlflow: Annotated[bool, typer.Option("--mlflow", help="The same as --format mlflow.")] = False,
    model: ModelOption = None,
    clip: Annotated[
        Path | None, typer.Option(help="Whose shape programs are for; a generated clip's if not given.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write a trained system into one file.

    `twostream predict` and `models.load` read it, without a server. Programs are made on this machine, of ID or of the
    file that --model names.
    """
    wanted = _form("mlflow" if mlflow and form == "bundle" else form, clip)
    if (experiment is None) == (model is None):
        raise CommandError("ID or --model: allowed: one of the two", INVALID)
    if model is not None and (wanted == "bundle" or split is not None or seed is not None):
        raise CommandError(
            "--model: allowed with --format torch, onnx or mlflow, and without --split and --seed", INVALID
        )
    _require(f"export --format {wanted}", NEEDED[wanted], "worker,onnx" if wanted == "onnx" else "worker")
    with _system(experiment, model, split, seed, whole=wanted != "bundle") as system:
        path = output or Path(
            f"{system.name}{'.zip' if wanted == 'bundle' else '' if wanted == 'mlflow' else f'-{wanted}'}"
        )
        made = _write(system, path, wanted, clip)
    if json:
        print_json({**system.about, "file": str(path), **made})
        return
    say(str(path))
    for name, why in made.get("left_out", {}).items():
        say(f"not written: {name}: {why}", error=True)


def predict(
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Video files.", show_default=False)],
    model: ModelOption = None,
    experiment: Annotated[
        str | None, typer.Option(help="The experiment whose system predicts.", autocompletion=complete_ids)
    ] = None,
    split: SplitOption = None,
    seed: SeedOption = None,
    top: Annotated[int, typer.Option(min=1, max=100, help="How many classes of each clip.")] = 5,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a picture of each clip into it: frames and classes.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the likeliest classes of clips.

    It computes on this machine, on a GPU where there is one.
    """
    if (model is None) == (experiment is None):
        raise CommandError("--model or --experiment: allowed: one of the two", INVALID)
    if model is not None and (split is not None or seed is not None):
        raise CommandError("--split and --seed: allowed with --experiment; a file is of one split and seed", INVALID)
    if pictures is not None and pictures.exists() and not pictures.is_dir():
        raise CommandError(f"--pictures: got {str(pictures)!r}, allowed: a folder", INVALID)
    _require("predict", NEEDED["torch"], "worker")
    options = [] if pictures is None else ["--pictures", str(pictures)]
    with _system(experiment, model, split, seed, whole=True) as system:
        found = _run(["--model", str(system.file), "--top", str(top), *options, "--", *map(str, clips)])
    if json:
        print_json(found)
        return
    for each in found:
        rows = [(entry["class"], percent(entry["probability"])) for entry in each["top"]]
        print_table(each["clip"], ("class", "probability#"), rows)
        if "picture" in each:
            say(each["picture"])


def register(
    experiment: Id,
    split: SplitOption = None,
    seed: SeedOption = None,
    json: JsonOption = False,
) -> None:
    """Register a trained system in MLflow.

    It becomes a version of the model of its dataset and stream; again it is the same one.
    """
    asked = {name: value for name, value in (("split", split), ("seed", seed)) if value is not None}
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    with Client.connect() as client:
        path = f"/experiments/{id_of(client, experiment)}/register"
        found = client.post(f"{path}?{query}" if query else path, patient=True)
    if json:
        print_json(found)
        return
    say(f"{found['name']} version {found['version']}{'' if found['created'] else ', which was there'}")
    say(f"{found['alias']}: {'this version' if found['best'] else found['reason']}")
    say(found["page"])


class _System:
    """A trained system: of an experiment, or of a file.

    Attributes:
        name: what a file of it is called, without its ending.
        about: experiment, split and seed, or the file.
        file: its bundle, where that is on this machine.
    """

    def __init__(self, name: str, about: dict[str, Any], client: Client | None, file: Path | None) -> None:
        self.name, self.about, self.client, self.file = name, about, client, file

    def fetch(self, path: Path) -> int:
        """Write the bundle into a file, which is whole or not there; return its bytes."""
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise CommandError(f"--output: got {str(path)!r}, allowed: a file in a folder that is there", INVALID)
        assert self.client is not None
        with replacing(path) as file:
            address = f"/experiments/{self.about['id']}/model"
            self.client.receive(address, file, split=self.about["split"], seed=self.about["seed"])
        return path.stat().st_size


@contextmanager
def _system(
    experiment: str | None, model: Path | None, split: int | None, seed: int | None, *, whole: bool
) -> Iterator[_System]:
    """Find a system; with ``whole`` its bundle is on this machine while the block lasts."""
    if model is not None:
        yield _System(model.stem, {"model": str(model)}, None, model)
        return
    assert experiment is not None
    with Client.connect() as client, tempfile.TemporaryDirectory(prefix="twostream-") as folder:
        found = client.get(f"/experiments/{id_of(client, experiment)}")
        first = {name: found["spec"][f"{name}s"][0] for name in ("split", "seed")}
        about = {
            "id": found["id"],
            "split": first["split"] if split is None else split,
            "seed": first["seed"] if seed is None else seed,
        }
        system = _System(f"{found['id']}-split{about['split']}-seed{about['seed']}", about, client, None)
        if whole:
            system.file = Path(folder) / "model.zip"
            system.fetch(system.file)
        yield system


def _form(name: str, clip: Path | None) -> Form:
    for form in FORMS:
        if form == name:
            if clip is not None and form not in {"torch", "onnx"}:
                raise CommandError("--clip: allowed with --format torch or onnx", INVALID)
            known: Form = form
            return known
    raise CommandError(f"--format: got {name!r}, allowed: {', '.join(FORMS)}", INVALID)


def _require(what: str, modules: tuple[str, ...], extras: str) -> None:
    """Name the extra whose packages are missing, in place of an import that fails."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise CommandError(f"{what} needs {', '.join(missing)}; hint: pip install 'twostream[{extras}]'", FAILURE)


def _write(system: _System, path: Path, form: Form, clip: Path | None) -> dict[str, Any]:
    """Write a system in a form; return what JSON says of it beside the path."""
    if form == "bundle":
        return {"bytes": system.fetch(path)}
    if path.exists():
        raise CommandError(f"--output: got {str(path)!r}, allowed: a folder that is not there yet", INVALID)
    assert system.file is not None
    try:
        return _write_folder(system.file, path, form, clip)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)  # it was not there before, and would be in the way of another try
        raise


def _write_folder(bundle: Path, path: Path, form: Form, clip: Path | None) -> dict[str, Any]:
    if form == "mlflow":
        from services.bundles import mlflow_model

        _require_whole(bundle)
        mlflow_model.write(path, bundle)
        return {"bytes": bundle.stat().st_size}
    clips = [] if clip is None else ["--", str(clip)]
    [made] = _run(["--model", str(bundle), "--programs", str(path), "--form", form, *clips])
    return made


def _require_whole(file: Path) -> None:
    from services.bundles.files import BundleFile
    from services.errors import DataError

    try:
        with BundleFile(file) as bundle:
            bundle.require_whole()
    except DataError as error:
        raise CommandError(str(error), FAILURE) from error


def _run(arguments: list[str]) -> list[dict[str, Any]]:
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
