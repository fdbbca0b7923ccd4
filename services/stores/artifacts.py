"""The artifact store: outputs and resumable state of stages, on a folder or any `fsspec` URL."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from errno import ENOSPC
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.errors import Denied, Unavailable
from services.stores.files import finished_files, is_unfinished, link_file, trash

STAGES_FOLDER, TRASH_FOLDER = "stages", ".trash"
PUBLISHED = re.compile(r"(?P<attempt>\d+)/(?P<name>\w+)/(?P<file>.+)")
MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "created")
"""How the stores of `fsspec` name the time of the last change: a folder, S3, Azure, Google, memory."""


@dataclass(frozen=True)
class StoredFile:
    """A file or object of a store.

    Attributes:
        path: relative to the store's root.
        bytes: its length.
        modified_at: seconds since 1970.
        identity: equal for two names of the same content, that is, for hard links.
        links: number of its names, ours or not.
    """

    path: str
    bytes: int
    modified_at: float
    identity: tuple[object, ...]
    links: int = 1


class ArtifactStore:
    """Publishes finished folders and brings them back as local ones.

    Outputs of a stage lie below ``stages/<key>/<attempt>``, so that a worker which has lost its lease can never
    overwrite what another attempt published.

    Args:
        root: folder, or URL such as ``s3://bucket/twostream``.
        cache: local folder for what was fetched from a remote root.

    Attributes:
        address: the root as messages name it, without a password.
        is_local: whether the root is a folder of this machine, perhaps one that it shares with others.
    """

    def __init__(self, root: str, cache: Path) -> None:
        self._files, self._root = fsspec.url_to_fs(root)
        self.address = re.sub("//[^/@]*@", "//", root)
        self._cache = cache
        self.is_local = isinstance(self._files, LocalFileSystem)
        self._errors = OSError if self.is_local else Exception  # an object store's library has errors of its own

    def publish(
        self, folder: Path, key: str, attempt: int, name: str = "output", held: Mapping[str, str] | None = None
    ) -> str:
        """Copy a folder into the store and return the name by which ``fetch`` finds it; done again it is replaced.

        Args:
            folder: what goes out, with all below it.
            key: the stage.
            attempt: its attempt.
            name: what the folder is to the stage.
            held: see ``add``.

        Raises:
            Unavailable: the store does not take it.
        """
        return self.add(folder, [*finished_files(folder)], key, attempt, name, held)

    def add(
        self,
        folder: Path,
        files: Sequence[str],
        key: str,
        attempt: int,
        name: str,
        held: Mapping[str, str] | None = None,
    ) -> str:
        """Copy some files of a folder into the store, to those that the attempt has there under the same name.

        No reader finds a part of a file: in a folder a file gets its name when it is complete, and a store of objects
        (S3, Google, Azure) takes each as a whole.

        Args:
            folder: where the files are.
            files: which of them, by their path in it.
            key: the stage.
            attempt: its attempt.
            name: what the folder is to the stage.
            held: of some of these files, where the store has them already; from there it copies them by itself.

        Raises:
            Unavailable: the store does not take it.
        """
        place = _place(key, attempt, name)
        target = f"{self._root}/{place}"
        with self._asked():
            if self.is_local:
                Path(target).mkdir(parents=True, exist_ok=True)
                for file in files:
                    link_file(folder / file, Path(target, file))
            else:
                for parent in sorted({f"{target}/{file}".rpartition("/")[0] for file in files}):
                    self._files.makedirs(parent, exist_ok=True)
                copied = self._copy(held or {}, target)
                fresh = [file for file in files if file not in copied]
                self._files.put([str(folder / file) for file in fresh], [f"{target}/{file}" for file in fresh])
        return place

    def _copy(self, held: Mapping[str, str], target: str) -> Set[str]:
        """Have the store copy files, and return which it has copied."""
        try:
            self._files.copy([f"{self._root}/{at}" for at in held.values()], [f"{target}/{file}" for file in held])
        except FileNotFoundError:  # a collection of the cache has just taken one
            return set()
        return held.keys()

    def published(self, key: str, name: str) -> dict[int, list[str]]:
        """Return the files that each attempt at a stage has in the store under a name, by the attempt's number.

        Raises:
            Unavailable: the store does not answer.
        """
        stage = f"{self._root}/{_stage(key)}"
        found: dict[int, list[str]] = defaultdict(list)
        with self._asked():
            self._files.invalidate_cache()  # other hosts write there
            paths = self._files.find(stage)
        for path in paths:
            parts = PUBLISHED.fullmatch(path.lstrip("/").removeprefix(f"{stage.strip('/')}/"))
            if parts and parts["name"] == name and not is_unfinished(parts["file"]):
                found[int(parts["attempt"])].append(parts["file"])
        return dict(found)

    def bring(self, files: Sequence[str], key: str, attempt: int, name: str, folder: Path) -> None:
        """Copy some files that an attempt has published into a local folder; none is ever there in part.

        Raises:
            Denied: one is not there, or there is no place for it here.
            Unavailable: the store does not answer.
        """
        source = f"{self._root}/{_place(key, attempt, name)}"
        with self._asked():
            if self.is_local:
                for file in files:
                    link_file(Path(source, file), folder / file)
                return
            targets = [folder / file for file in files]
            partial = [target.with_name(f".{target.name}.tmp") for target in targets]
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get([f"{source}/{file}" for file in files], [str(path) for path in partial])
            for path, target in zip(partial, targets, strict=True):
                path.replace(target)

    def fetch(self, place: str) -> Path:
        """Return a local folder with what was published; a remote one is copied into the cache once.

        Raises:
            Denied: it is not there, or there is no place for it here.
            Unavailable: the store does not answer.
        """
        source = f"{self._root}/{place}"
        if self.is_local:
            if not Path(source).is_dir():
                raise Denied(f"artifact store at {self.address}: nothing at {place}")
            return Path(source)
        target = self._cache / place
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            with self._asked(place):
                self._files.get(f"{source}/", f"{partial}/fetched/", recursive=True)
            with contextlib.suppress(OSError):  # another thread or process has just put the same there
                Path(partial, "fetched").rename(target)
        if not target.is_dir():
            raise Denied(f"artifact cache at {self._cache}: cannot keep {place}")
        return target

    def find(self, key: str, attempt: int, name: str) -> str | None:
        """Return the place of what an attempt published under a name, or None.

        Raises:
            Unavailable: the store does not answer.
        """
        place = _place(key, attempt, name)
        with self._asked():
            return place if self._files.isdir(f"{self._root}/{place}") else None

    def discard(self, key: str, attempt: int, name: str) -> None:
        """Remove what an attempt published under a name, if it did.

        Raises:
            Unavailable: the store does not answer.
        """
        if (place := self.find(key, attempt, name)) is not None:
            with self._asked(), contextlib.suppress(FileNotFoundError):  # a collection of the cache has just taken it
                self._files.rm(f"{self._root}/{place}", recursive=True)

    def survey(self) -> Iterator[StoredFile]:
        """Yield every file that attempts have published, or are just publishing.

        Raises:
            Unavailable: the store does not answer.
        """
        if self.is_local:
            yield from walk(Path(self._root), STAGES_FOLDER)
            return
        with self._asked():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._root}/{STAGES_FOLDER}", detail=True)
        for path, facts in found.items():
            place = path.lstrip("/").removeprefix(f"{self._root.strip('/')}/")
            yield StoredFile(place, int(facts.get("size") or 0), modified_at(facts), (place,))

    def take(self, place: str) -> None:
        """Remove a folder that no stage names any more.

        On a folder it leaves its place at once and as a whole, so that what a crash leaves is in the trash. Elsewhere
        it goes file by file, and what is left is found by the next survey.

        Raises:
            Unavailable: the store does not answer.
        """
        with self._asked(place):
            if self.is_local:
                trash(Path(self._root, place), Path(self._root, TRASH_FOLDER))
            elif self._files.isdir(f"{self._root}/{place}"):
                self._files.rm(f"{self._root}/{place}", recursive=True)

    def empty_trash(self) -> None:
        """Remove what an interrupted `take` left behind."""
        if self.is_local:
            shutil.rmtree(Path(self._root, TRASH_FOLDER), ignore_errors=True)

    def open_file(self, place: str) -> Path:
        """Return a local copy of one published file, named ``<place>/<file>``."""
        folder, _, file = place.rpartition("/")
        return self.fetch(folder) / file

    @contextmanager
    def _asked(self, place: str = "") -> Iterator[None]:
        """Word what goes wrong while the store is asked."""
        try:
            yield
        except self._errors as error:
            denied = isinstance(error, FileNotFoundError | PermissionError) or getattr(error, "errno", None) == ENOSPC
            message = f"artifact store at {self.address}: {place}{': ' if place else ''}{error}"
            raise (Denied if denied else Unavailable)(message) from error


def _stage(key: str) -> str:
    return f"{STAGES_FOLDER}/{key[:2]}/{key}"


def _place(key: str, attempt: int, name: str) -> str:
    return f"{_stage(key)}/{attempt}/{name}"


def walk(root: Path, folder: str) -> Iterator[StoredFile]:
    """Yield the files below a folder of a root; those that go meanwhile are left out."""
    for parent, _, names in os.walk(root / folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                facts = path.lstat()
                identity = (facts.st_dev, facts.st_ino)
                yield StoredFile(str(path.relative_to(root)), facts.st_size, facts.st_mtime, identity, facts.st_nlink)


def modified_at(facts: Mapping[str, Any]) -> float:
    """Return when an object was written, in seconds since 1970, by the name that its store gives it; now if unknown."""
    found = next((facts[name] for name in MODIFIED if facts.get(name) is not None), None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return time.time() if found is None else float(found)
