"""Files of tensors are whole or absent, and carry no code."""

import pickle
from pathlib import Path

import pytest
import torch

from worker.training import checkpoint


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    content = {"a": torch.arange(3), "b": [1, {"c": 2.5}], "d": None}
    checkpoint.save(tmp_path / "x.pt", {"a": torch.zeros(9)})
    checkpoint.save(tmp_path / "x.pt", content)
    read = checkpoint.load(tmp_path / "x.pt")
    assert torch.equal(read.pop("a"), torch.arange(3))
    assert read == {"b": [1, {"c": 2.5}], "d": None}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"a": 1})
    with pytest.raises((AttributeError, pickle.PicklingError)):
        checkpoint.save(path, {"a": lambda: None})
    assert checkpoint.load(path) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["x.pt"]


def test_pickled_code_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "x.pt")
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(tmp_path / "x.pt")
