"""Names on disk, put together and taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.stores.names import Place, finished_name, is_unfinished, key_path, stage_folder, temporary

KEY = "0f" * 32


def test_a_place_is_read_back_from_its_path_and_from_a_file_in_it() -> None:
    place = Place(KEY, 12, "output")
    assert place.path == f"{stage_folder(KEY)}/12/output" == f"stages/0f/{KEY}/12/output"
    assert Place.of(place.path) == Place.of(f"{place.path}/deep/a.npy") == place


@pytest.mark.parametrize(
    "path",
    ["", "stages", stage_folder(KEY), f"{stage_folder(KEY)}/1", f"{stage_folder(KEY)}/one/output", f"flow/0f/{KEY}"],
)
def test_what_is_no_path_of_an_attempt_is_no_place(path: str) -> None:
    assert Place.of(path) is None


def test_a_hash_has_its_file_below_its_first_digits() -> None:
    assert key_path(KEY, ".npy") == f"0f/{KEY}.npy"


@pytest.mark.parametrize("numbers", [(), (12,), (12, 34)])
@pytest.mark.parametrize("name", ["b.npy", "checkpoint.pt", "folder"])
def test_a_temporary_name_tells_what_it_becomes(name: str, numbers: tuple[int, ...]) -> None:
    made = temporary(Path("A") / name, *numbers)
    assert made.parent == Path("A")
    assert is_unfinished(made.as_posix())
    assert finished_name(made.as_posix()) == f"A/{name}"


@pytest.mark.parametrize("path", [".hidden/b.npy", "checkpoint.tmp", ".b.npy", "A.tmp/b", ".tmp"])
def test_a_finished_file_has_another_name(path: str) -> None:
    assert not is_unfinished(path)
