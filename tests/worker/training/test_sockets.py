"""Loader processes under a long path for temporary files, as schedulers of clusters give each job."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.errors import StageError
from worker.training import sockets

READ = """
import torch
from worker.training.loader import Loader
print(sum(int(batch.sum()) for batch in Loader(torch.arange(100), batch_size=10, num_workers=2)))
"""


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="") as folder:
        yield Path(folder)


def long(short: Path, bytes_: int) -> Path:
    """Make a folder whose path has as many bytes."""
    names = "a" * (bytes_ - len(str(short)) - 1)
    found = short.joinpath(*(names[at : at + 99] for at in range(0, len(names), 100)))
    found.mkdir(parents=True)
    assert len(str(found)) == bytes_
    return found


@pytest.mark.parametrize("bytes_", [sockets.MOST_BYTES, sockets.MOST_BYTES + 1, 107, 200])
def test_loader_processes_hand_over_whatever_the_length_of_the_path(short: Path, bytes_: int) -> None:
    folder = long(short, bytes_)
    command = [sys.executable, "-c", READ]
    done = subprocess.run(
        command, env={"TMPDIR": str(folder)}, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("4950\n", "", 0)
    assert list(folder.iterdir()) == []


def test_where_no_short_folder_is_to_be_had_the_variable_is_named(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(long(short, 120)))
    monkeypatch.setattr(sockets, "SHORT_FOLDERS", (str(short / "none"),))
    with pytest.raises(StageError, match=r"TMPDIR: got .* at most 75 bytes"):
        sockets.give_room()
