"""What make says before it downloads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIZE = re.compile(r"^installing the locked packages into \.venv: [\d.]+ GB on disk\b", re.MULTILINE)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder as it is after a clone: nothing is installed."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make, in which no Python makes an environment: what comes before it is said all the same."""
    command = ["make", "--no-print-directory", "PYTHON=false", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("target", ["demo", "up", "test", "check"])
def test_the_size_is_said_before_anything_is_downloaded(clone: Path, target: str) -> None:
    done = make(clone, target)
    assert done.returncode != 0
    assert SIZE.match(done.stdout)
    assert [line for line in done.stdout.splitlines() if "pip" in line] == []


def test_what_is_installed_is_not_announced(clone: Path) -> None:
    ready = clone / ".venv" / ".ready"
    ready.parent.mkdir()
    ready.touch()
    later = max(path.stat().st_mtime for path in clone.iterdir()) + 10
    os.utime(ready, (later, later))
    assert make(clone, "-n", "demo").stdout.split() == [".venv/bin/twostream", "demo"]
