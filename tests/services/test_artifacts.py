from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from services.artifacts import ArtifactStore, link_tree
from services.errors import Unavailable

KEY = "ab" * 32


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store on a folder, and one on a file system that is not this machine's."""
    if request.param == "folder":
        return ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
    fsspec.filesystem("memory").store.clear()
    return ArtifactStore("memory://twostream", tmp_path / "cache")


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        file = path / name.replace("__", "/").replace("_txt", ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def content(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("*")) if file.is_file()}


def test_what_was_published_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    place = store.publish(folder(tmp_path / "out", a_txt="1", deep__er__b_txt="2"), KEY, 1)
    assert place == f"stages/ab/{KEY}/1/output"
    assert content(store.fetch(place)) == {"a.txt": "1", "deep/er/b.txt": "2"}
    assert store.open_file(f"{place}/a.txt").read_text() == "1"


def test_attempts_do_not_touch_each_other(store: ArtifactStore, tmp_path: Path) -> None:
    first = store.publish(folder(tmp_path / "one", a_txt="1"), KEY, 1)
    second = store.publish(folder(tmp_path / "two", a_txt="2"), KEY, 2)
    assert content(store.fetch(first)) == {"a.txt": "1"}
    assert content(store.fetch(second)) == {"a.txt": "2"}


def test_state_is_found_until_it_is_discarded(store: ArtifactStore, tmp_path: Path) -> None:
    assert store.find(KEY, 1, "state") is None
    place = store.publish(folder(tmp_path / "state", checkpoint_txt="x"), KEY, 1, "state")
    assert store.find(KEY, 1, "state") == place
    store.discard(KEY, 1, "state")
    store.discard(KEY, 1, "state")
    assert store.find(KEY, 1, "state") is None


def test_what_is_not_there_is_named(store: ArtifactStore) -> None:
    with pytest.raises(Unavailable, match=r"artifact store at .*nothing|stages/none"):
        store.fetch("stages/none")


def test_a_file_replaced_after_publishing_leaves_the_published_one(tmp_path: Path) -> None:
    source = folder(tmp_path / "source", a_txt="old")
    link_tree(source, tmp_path / "copy")
    new = tmp_path / "new"
    new.write_text("new")
    new.replace(source / "a.txt")
    assert content(tmp_path / "copy") == {"a.txt": "old"}
