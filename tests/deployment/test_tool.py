"""The command in an environment of its own, as the README installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deployment.project import PACKAGES, ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
AWAY = ("error sending request", "Failed to fetch", "dns error", "timed out")
"""What uv says where no index answers."""


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an installation by `uv tool install .`, from the files of a clone."""
    folder = tmp_path_factory.mktemp("tool")
    (folder / "clone").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "clone")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / "clone" / name, ignore=shutil.ignore_patterns("__pycache__"))
    places = {"UV_TOOL_DIR": folder / "tools", "UV_TOOL_BIN_DIR": folder / "bin", "UV_CACHE_DIR": folder / "cache"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("uv")), "tool", "install", "."],
        cwd=folder / "clone",
        env=clean(folder) | {name: str(path) for name, path in places.items()},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    if done.returncode and any(words in done.stderr for words in AWAY):
        pytest.skip(f"no package index answers: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder


def clean(folder: Path) -> dict[str, str]:
    """Return the environment without what leads to this installation."""
    ours = ("PYTHON", "VIRTUAL_ENV", "TWOSTREAM_")
    found = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return found | {"HOME": str(folder), "TWOSTREAM_HOME": str(folder / "home")}


def twostream(tool: Path, *words: str) -> tuple[int, str, str]:
    command = [str(tool / "bin" / "twostream"), *words]
    done = subprocess.run(command, cwd=tool, env=clean(tool), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_command_runs_from_an_environment_of_its_own(tool: Path) -> None:
    assert twostream(tool, "--version") == (0, f"twostream {version('twostream')}\n", "")
    code, out, err = twostream(tool, "--help")
    assert (code, err, "leaderboard" in out) == (0, "", True)
    code, _, err = twostream(tool, "up")
    assert code == 1
    assert err.startswith("twostream: up needs ")
    assert err.endswith("hint: pip install 'twostream[local,worker]'\n")
    code, _, err = twostream(tool, "list")
    assert (code, "hint: `twostream up` starts one" in err) == (1, True)


def test_every_file_of_the_packages_is_installed(tool: Path) -> None:
    [installed] = (tool / "tools" / "twostream" / "lib").glob("python*/site-packages")
    files = (path.relative_to(tool / "clone") for name in PACKAGES for path in (tool / "clone" / name).rglob("*"))
    assert [str(path) for path in files if not (installed / path).exists()] == []
    size = sum(path.lstat().st_size for path in (tool / "tools").rglob("*") if path.is_file())
    assert size < 800e6, "the README says how much it is"
