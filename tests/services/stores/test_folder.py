from __future__ import annotations

from pathlib import Path

from services.stores.folder import FolderStore
from tests.services.conftest import publish

KEY = "ab" * 32


def test_names_of_one_file_have_one_identity(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("1")
    publish(store, out, KEY, 1)
    publish(store, out, KEY, 2)
    assert [(file.links, file.bytes) for file in store.survey()] == [(3, 1), (3, 1)]
    assert len({file.identity for file in store.survey()}) == 1
