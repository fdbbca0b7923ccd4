from __future__ import annotations

import time
from pathlib import Path

import pytest

from services.errors import Denied, Unavailable
from services.settings import Settings
from services.stores.artifacts import ArtifactStore, open_store
from services.stores.folder import FolderStore
from services.stores.objects import ObjectStore
from tests.services.conftest import publish

KEY = "ab" * 32


@pytest.fixture
def store(store_root: str, tmp_path: Path) -> ArtifactStore:
    return open_store(Settings(artifact_root=store_root, work_root=tmp_path))


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        file = path / name.replace("__", "/").replace("_txt", ".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def content(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("*")) if file.is_file()}


def test_what_was_published_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    place = publish(store, folder(tmp_path / "out", a_txt="1", deep__er__b_txt="2"), KEY, 1)
    assert place == f"stages/ab/{KEY}/1/output"
    assert content(store.fetch(place)) == {"a.txt": "1", "deep/er/b.txt": "2"}


def test_attempts_do_not_touch_each_other(store: ArtifactStore, tmp_path: Path) -> None:
    first = publish(store, folder(tmp_path / "one", a_txt="1"), KEY, 1)
    second = publish(store, folder(tmp_path / "two", a_txt="2"), KEY, 2)
    assert content(store.fetch(first)) == {"a.txt": "1"}
    assert content(store.fetch(second)) == {"a.txt": "2"}


def test_state_is_found_until_it_is_discarded(store: ArtifactStore, tmp_path: Path) -> None:
    assert store.find(KEY, 1, "state") is None
    place = publish(store, folder(tmp_path / "state", checkpoint_txt="x"), KEY, 1, "state")
    assert store.find(KEY, 1, "state") == place
    store.discard(KEY, 1, "state")
    store.discard(KEY, 1, "state")
    assert store.find(KEY, 1, "state") is None


def test_what_is_not_there_is_named(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"artifact store at .*nothing|stages/none"):
        store.fetch("stages/none")
    with pytest.raises(Denied, match=r"artifact store at "):
        store.bring(["none"], KEY, 1, "output", tmp_path)


def test_a_file_replaced_after_publishing_leaves_the_published_one(store: ArtifactStore, tmp_path: Path) -> None:
    source = folder(tmp_path / "source", a_txt="old")
    place = publish(store, source, KEY, 1)
    folder(tmp_path, new_txt="new")
    (tmp_path / "new.txt").replace(source / "a.txt")
    assert content(store.fetch(place)) == {"a.txt": "old"}


def test_what_is_still_being_written_is_not_published(store: ArtifactStore, tmp_path: Path) -> None:
    state = folder(tmp_path / "state", a_txt="1", deep__b_txt="2")
    (state / "deep" / ".b.txt.77.tmp").write_text("ha")
    (state / ".checkpoint.pt.tmp").write_text("lf")
    publish(store, state, KEY, 1, "state")
    assert store.published(KEY, "state") == {1: ["a.txt", "deep/b.txt"]}


def test_files_are_added_and_brought_back_one_by_one(store: ArtifactStore, tmp_path: Path) -> None:
    state = folder(tmp_path / "state", a_txt="1", deep__b_txt="2", c_txt="3")
    assert store.published(KEY, "state") == {}
    store.add(state, ["a.txt"], KEY, 1, "state")
    store.add(state, ["deep/b.txt"], KEY, 1, "state")
    store.add(state, ["c.txt"], KEY, 2, "state")
    publish(store, state, KEY, 1)
    assert store.published(KEY, "state") == {1: ["a.txt", "deep/b.txt"], 2: ["c.txt"]}
    back = folder(tmp_path / "back", a_txt="mine")
    store.bring(["deep/b.txt"], KEY, 1, "state", back)
    store.bring(["c.txt"], KEY, 2, "state", back)
    assert content(back) == {"a.txt": "mine", "c.txt": "3", "deep/b.txt": "2"}
    with pytest.raises(Unavailable, match="artifact store at "):
        store.bring(["d.txt"], KEY, 2, "state", back)
    assert len(content(back)) == 3


def test_a_survey_knows_every_file_and_its_age(store: ArtifactStore, tmp_path: Path) -> None:
    assert list(store.survey()) == []
    before = time.time() - 1
    place = publish(store, folder(tmp_path / "out", a_txt="123", stages__b_txt="4"), KEY, 1)
    found = {file.path: file for file in store.survey()}
    assert {path: file.bytes for path, file in found.items()} == {f"{place}/a.txt": 3, f"{place}/stages/b.txt": 1}
    assert all(before < file.modified_at < time.time() + 1 for file in found.values())
    store.take(place)
    store.take(place)
    assert list(store.survey()) == []
    assert store.find(KEY, 1, "output") is None


@pytest.mark.parametrize(
    ("root", "kind"),
    [
        ("/shared/artifacts", FolderStore),
        ("file:///shared/artifacts", FolderStore),
        ("memory://twostream", ObjectStore),
    ],
)
def test_the_artifact_root_says_which_store_it_is(root: str, kind: type) -> None:
    store = open_store(Settings(artifact_root=root))
    assert type(store) is kind
    assert store.address == root.removeprefix("file://")
