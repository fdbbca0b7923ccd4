"""A bundle as a model of MLflow: a folder that ``mlflow.pyfunc.load_model`` and MLflow's servers take.

The folder holds the bundle itself. Its description (``MLmodel``) is written without MLflow: the command has none.
"""

from __future__ import annotations

import json
import platform
import shutil
import zipfile
from pathlib import Path
from typing import Any

import yaml

from services.stores.files import write_atomically

BUNDLE_FILE, MODEL_FILE = "system.zip", "MLmodel"
LOADER = "worker.prediction.mlflow_model"
CLIP = "clip"
"""The one column of the input: paths of clips. Those of the output are the classes."""
CONTENTS_FILE = "bundle.json"


def write(folder: Path, bundle: Path) -> None:
    """Write the model of a bundle that `BundleFile` has found whole into a new folder.

    Raises:
        OSError: the folder is there already, or cannot be made.
    """
    with zipfile.ZipFile(bundle) as archive:
        contents = json.loads(archive.read(CONTENTS_FILE))
    folder.mkdir(parents=True)
    shutil.copyfile(bundle, folder / BUNDLE_FILE)
    write_atomically(folder / "requirements.txt", b"twostream[worker]\n")
    write_atomically(folder / MODEL_FILE, yaml.safe_dump(_description(contents), sort_keys=False).encode())


def _description(contents: dict[str, Any]) -> dict[str, Any]:
    inputs = [{"name": CLIP, "type": "string", "required": True}]
    outputs = [{"name": name, "type": "double", "required": True} for name in contents["classes"]]
    flavor = {"loader_module": LOADER, "data": BUNDLE_FILE, "python_version": platform.python_version()}
    known = ("experiment", "name", "recipe", "dataset", "split", "seed")
    return {
        "flavors": {"python_function": flavor},
        "metadata": {f"twostream.{name}": contents[name] for name in known},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)},
    }
