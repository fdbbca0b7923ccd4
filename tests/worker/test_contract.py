"""Files of the contract between supervisor and rank process."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.stores.files import write_atomically


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let files of this process grow to 1000 bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, small_files: None) -> None:
    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(OSError, match="File too large"):
        write_atomically(tmp_path / "file", bytes(5000))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]
