"""The lock file: exact versions, hashes, no addresses, and all that the images install."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deployment.project import API_PACKAGES, LOCK, PACKAGES, PROJECT, ROOT, closure, locked_names


def test_every_locked_version_has_hashes_and_no_address() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==[^\s;]+( ; .+?)? \\\n", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]
    assert "://" not in LOCK
    assert not re.search(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links)\b", LOCK, flags=re.MULTILINE)


def test_everything_that_the_project_names_is_locked() -> None:
    project = PROJECT["project"]
    groups = (project["dependencies"], *project["optional-dependencies"].values(), PROJECT["dependency-groups"]["dev"])
    named = {canonicalize_name(Requirement(requirement).name) for group in groups for requirement in group}
    assert named - locked_names() == set()


@pytest.mark.parametrize("requirement", ["twostream[s3]", "twostream[s3,worker]", "mlflow", "psycopg[binary]"])
def test_an_image_installs_locked_distributions_only(requirement: str) -> None:
    assert closure(requirement) - {"twostream"} - locked_names() == set()


def test_the_api_image_has_no_torch_and_the_worker_image_has() -> None:
    heavy = {"torch", "torchvision", "timm", "opencv-contrib-python-headless", "av"}
    assert closure("twostream[s3]") & heavy == set()
    assert heavy <= closure("twostream[s3,worker]")


BLOCKED = """
import importlib, sys
from pathlib import Path
blocked, folder = sys.argv[1].split(","), Path(sys.argv[2])
sys.modules.update(dict.fromkeys(blocked))  # None: an import of it fails
for path in sorted((folder / "services").rglob("*.py")):
    if path.name != "env.py" and "versions" not in path.parts:
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        importlib.import_module(name.removesuffix(".__init__"))
importlib.import_module("api.app")
importlib.import_module("cli.main")
"""


def test_the_api_image_imports_nothing_that_it_lacks() -> None:
    """Every module of services, the API and the command, in an interpreter that has the image's distributions only."""
    there = closure("twostream")
    homes = importlib.metadata.packages_distributions().items()
    lacking = {top for top, names in homes if not {canonicalize_name(name) for name in names} & there}
    lacking |= set(PACKAGES) - set(API_PACKAGES)
    blocked = ",".join(sorted(lacking - set(API_PACKAGES) - set(sys.stdlib_module_names)))
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, blocked, str(ROOT)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
