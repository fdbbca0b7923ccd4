"""Publication of a growing state, and what another host makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.errors import Denied, Unavailable
from services.queue.claim import Claim
from services.settings import Settings
from services.stores.artifacts import ArtifactStore, open_store
from services.stores.files import link_file, write_atomically
from services.stores.objects import ObjectStore
from worker.host.state import BATCH_FILES, State

KEY = "ab" * 32


class Watched:
    """Remembers which files went out to a store, call by call.

    ``refuses`` is how many calls it takes before it is away; when it ``keeps``, it lets nothing go.
    """

    refuses, keeps = float("inf"), False

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self.sent: list[list[str]] = []
        self.copies = isinstance(store, ObjectStore)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def add(self, folder: Path, files: Sequence[str], *place: Any) -> str:
        if len(self.sent) >= self.refuses:
            raise Unavailable("bucket")
        held = place[3] if len(place) > 3 and self.copies else {}
        self.sent.append(sorted(file for file in files if file not in held))
        return self._store.add(folder, files, *place)

    def discard(self, *place: Any) -> None:
        if self.keeps:
            raise Denied("Permission denied")
        self._store.discard(*place)


@pytest.fixture
def store(store_root: str, tmp_path: Path) -> Watched:
    return Watched(open_store(Settings(artifact_root=store_root, work_root=tmp_path)))


class Try:
    """An attempt of a host: its state folder, restored."""

    def __init__(self, store: Watched, home: Path, number: int, dropped: int = 0) -> None:
        values: dict[str, Any] = {
            "kind": "flow",
            "queue": "cpu",
            "label": "flow",
            "params": {},
            "inputs": (),
            "gpus": 0,
        }
        claim = Claim(KEY, attempt=number, timeout_seconds=60, state_dropped_at_attempt=dropped, **values)
        self.state = State(store, claim, home)
        self.folder = home / f"stages/ab/{KEY}/{number}/state"
        self.state.restore(self.folder)
        self.stop = threading.Event()

    def write(self, **files: str) -> Try:
        for name, text in files.items():
            write_atomically(self.folder / name.replace("__", "/"), text.encode())
        return self

    def publish(self) -> Try:
        self.state.publish(self.folder, self.stop)
        return self

    def content(self) -> dict[str, str]:
        return {
            path.relative_to(self.folder).as_posix(): path.read_text()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def attempt(store: Watched, tmp_path: Path) -> Callable[..., Try]:
    """A function that begins an attempt on a host."""

    def begin(host: str, number: int, **options: int) -> Try:
        return Try(store, tmp_path / host, number, **options)

    return begin


def test_only_new_and_replaced_files_go_out(attempt: Callable[..., Try], store: Watched) -> None:
    first = attempt("a", 1).write(A__one="1", checkpoint="epoch 1").publish().publish()
    first.write(A__two="2").publish()
    first.write(checkpoint="epoch 2").publish().publish()
    assert store.sent == [["A/one", "checkpoint"], ["A/two"], ["checkpoint"]]
    assert attempt("b", 2).content() == {"A/one": "1", "A/two": "2", "checkpoint": "epoch 2"}


def test_an_empty_state_is_not_published(attempt: Callable[..., Try], store: Watched) -> None:
    first = attempt("a", 1).publish()
    (first.folder / ".one.7.tmp").write_text("ha")
    first.publish()
    assert store.sent == []
    assert store.find(KEY, 1, "state") is None


def test_what_is_half_written_is_neither_published_nor_taken_over(attempt: Callable[..., Try]) -> None:
    first = attempt("a", 1).write(one="1")
    (first.folder / ".one.7.tmp").write_text("ha")
    first.publish()
    assert attempt("a", 2).content() == {"one": "1"}
    assert attempt("b", 2).content() == {"one": "1"}


def test_what_came_from_the_store_is_not_sent_back(attempt: Callable[..., Try], store: Watched) -> None:
    attempt("a", 1).write(one="1", two="2").publish()
    store.sent.clear()
    attempt("b", 2).publish().write(three="3").publish()
    assert store.sent == [["three"]]
    third = attempt("c", 3)
    assert third.content() == {"one": "1", "two": "2", "three": "3"}
    third.write(two="changed").publish()
    assert store.sent == [["three"], ["two"]]


def test_a_state_of_this_host_goes_out_with_the_next_attempt(attempt: Callable[..., Try], store: Watched) -> None:
    attempt("a", 1).write(one="1")  # its worker died before it could publish
    attempt("a", 2).publish()
    assert store.sent == [["one"]]
    assert attempt("b", 3).content() == {"one": "1"}


def test_of_each_file_the_latest_is_taken(attempt: Callable[..., Try]) -> None:
    attempt("a", 1).write(one="1", checkpoint="epoch 1").publish()
    attempt("b", 2).write(two="2", checkpoint="epoch 2").publish()
    assert attempt("c", 3).content() == {"one": "1", "two": "2", "checkpoint": "epoch 2"}
    assert attempt("a", 3).content() == {"one": "1", "two": "2", "checkpoint": "epoch 2"}


def test_an_attempt_that_died_while_it_published_takes_nothing_away(
    attempt: Callable[..., Try], store: Watched
) -> None:
    names = {f"clip{number:02}": "1" for number in range(BATCH_FILES + 2)}
    attempt("a", 1).write(**names).publish()
    second = attempt("a", 2).write(new="2")
    store.refuses = len(store.sent) + 1
    with pytest.raises(Unavailable, match="bucket"):
        second.publish()
    assert len(store.published(KEY, "state")[2]) == BATCH_FILES
    assert attempt("b", 3).content() == names
    store.refuses = float("inf")
    second.publish()  # what was taken is not sent again
    assert [len(files) for files in store.sent] == [BATCH_FILES, 2, BATCH_FILES, 3]
    assert attempt("c", 3).content() == {**names, "new": "2"}


def test_a_publication_stops_between_batches(attempt: Callable[..., Try], store: Watched) -> None:
    first = attempt("a", 1).write(one="1")
    first.stop.set()
    first.publish()
    assert store.sent == []


def test_a_state_that_was_dropped_is_not_looked_for(attempt: Callable[..., Try]) -> None:
    attempt("a", 1).write(one="1").publish()
    attempt("b", 2).write(two="2").publish()
    assert attempt("c", 3, dropped=2).content() == {}
    assert attempt("d", 3, dropped=1).content() == {"two": "2"}
    assert attempt("a", 3, dropped=2).content() == {}


def test_an_output_that_went_out_as_state_is_copied_within_the_store(
    attempt: Callable[..., Try], store: Watched, tmp_path: Path
) -> None:
    first = attempt("a", 1).write(one="1", two="2", checkpoint="epoch 1").publish()
    output = tmp_path / "output"
    for name in ("one", "two", "checkpoint"):
        link_file(first.folder / name, output / name)
    (output / "clips.json").write_text("{}")
    first.write(two="new", checkpoint="epoch 2").publish()
    store.sent.clear()
    place = first.state.publish_output(output)
    assert store.sent == [["checkpoint", "clips.json", *([] if store.copies else ["one"]), "two"]]
    found = {path.name: path.read_text() for path in store.fetch(place).iterdir()}
    assert found == {"one": "1", "two": "2", "checkpoint": "epoch 1", "clips.json": "{}"}


def test_an_output_whose_copy_was_taken_is_sent(attempt: Callable[..., Try], store: Watched, tmp_path: Path) -> None:
    first = attempt("a", 1).write(one="1").publish()
    link_file(first.folder / "one", tmp_path / "output" / "one")
    store.discard(KEY, 1, "state")
    assert (store.fetch(first.state.publish_output(tmp_path / "output")) / "one").read_text() == "1"


def test_nothing_is_left_in_the_store_after_success(attempt: Callable[..., Try], store: Watched) -> None:
    attempt("a", 1).write(one="1").publish()
    second = attempt("b", 2).write(two="2").publish()
    second.state.discard()
    assert [*store.survey()] == []


def test_a_store_that_does_not_let_go_harms_no_finished_stage(
    attempt: Callable[..., Try], store: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    finished = attempt("a", 1).write(one="1").publish()
    store.keeps = True
    finished.state.discard()
    assert "its state stays in the store" in caplog.text


def test_a_file_that_goes_while_it_is_published_takes_no_other_with_it(
    attempt: Callable[..., Try], store: Watched
) -> None:
    growing = attempt("a", 1).write(kept="1")
    (growing.folder / "gone").symlink_to("nowhere")  # is listed, and is not there
    growing.publish()
    assert store.sent == [["kept"]]
