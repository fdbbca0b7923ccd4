from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.errors import Denied, Unavailable
from services.stores.objects import ObjectStore, modified_at
from tests.services.conftest import Away, publish

KEY = "ab" * 32


@pytest.mark.parametrize(
    "ask",
    [
        lambda store, folder: publish(store, folder, KEY, 1),
        lambda store, folder: store.published(KEY, "output"),
        lambda store, folder: store.bring(["a.txt"], KEY, 1, "output", folder),
        lambda store, folder: store.fetch(f"stages/ab/{KEY}/1/output"),
        lambda store, folder: store.find(KEY, 1, "output"),
        lambda store, folder: store.discard(KEY, 1, "output"),
        lambda store, folder: list(store.survey()),
        lambda store, folder: store.take(f"stages/ab/{KEY}/1/output"),
    ],
    ids=["publish", "published", "bring", "fetch", "find", "discard", "survey", "take"],
)
def test_an_error_of_a_stores_own_library_says_that_it_is_away(ask: Callable[..., object], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("1")
    store = ObjectStore("memory://twostream", tmp_path / "cache")
    publish(store, out, KEY, 1)
    Away(store, calls=1)
    with pytest.raises(Unavailable, match=r"artifact store at memory://twostream: .*no route to the bucket") as caught:
        ask(store, out)
    assert not isinstance(caught.value, Denied)
    ask(store, out)


def test_messages_keep_a_password_for_themselves(tmp_path: Path) -> None:
    assert ObjectStore("memory://me:secret@host/folder", tmp_path).address == "memory://host/folder"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"LastModified": datetime(2026, 1, 1, tzinfo=UTC)}, 1767225600.0),
        ({"updated": "2026-01-01T00:00:00+00:00"}, 1767225600.0),
        ({"mtime": 5.5, "created": 1.0}, 5.5),
    ],
)
def test_each_store_words_the_age_of_an_object(facts: dict[str, object], expected: float) -> None:
    assert modified_at(facts) == expected


def test_an_object_of_unknown_age_is_new() -> None:
    assert modified_at({"size": 1}) == pytest.approx(time.time(), abs=60)
