"""What a host says of itself, without importing what it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from services import version
from worker.host.environment import driver_version, environment, gpu_models

VERSION = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (x@y)\nGCC version: 13.2.0\n"
)
INFORMATION = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 300\nGPU UUID: \t GPU-1\n"


def test_an_environment_is_small_and_true() -> None:
    found = environment()
    assert found["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert found["cuda"] == torch.version.cuda
    assert found["python"] == sys.version.split()[0]
    assert found["code"] == version.code_revision()
    assert len(json.dumps(found)) < 1500


def test_no_library_is_loaded_for_it() -> None:
    code = "import sys; from worker.host.environment import environment; environment(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_gpus_are_those_of_the_kernel(tmp_path: Path) -> None:
    assert gpu_models(tmp_path) == []
    for number in range(2):
        (tmp_path / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
        (tmp_path / "gpus" / f"0000:0{number}:00.0" / "information").write_text(INFORMATION)
    (tmp_path / "version").write_text(VERSION)
    assert (gpu_models(tmp_path), driver_version(tmp_path)) == (["NVIDIA H200"] * 2, "570.86.15")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    def git(*words: str) -> None:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-m", "one")
    git("tag", "v1")
    return tmp_path


def test_code_goes_by_its_commit_and_else_by_its_version(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = version.code_revision.__wrapped__

    monkeypatch.setattr(version, "ROOT", checkout)
    clean = revision()
    assert len(clean.removeprefix("commit ")) == 40
    (checkout / "file").write_text("2")
    assert revision() == f"{clean}, with changes"
    (checkout / "folder").mkdir()
    monkeypatch.setattr(version, "ROOT", checkout / "folder")
    assert revision() == f"version {version.installed(version.PACKAGE)}"
    monkeypatch.setattr(version, "ROOT", checkout)
    monkeypatch.setenv("PATH", "")
    assert revision() == f"version {version.installed(version.PACKAGE)}"
