"""The artifact store on objects: S3, Google, Azure and whatever else `fsspec` knows by a URL."""

from __future__ import annotations

import contextlib
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec

from services.errors import Denied
from services.stores.names import STAGES_FOLDER, Place, stage_folder, temporary
from services.stores.places import StoredFile, asking, by_attempt

MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "created")
"""How the stores of `fsspec` name the time of the last change: SFTP, S3, Azure, Google, memory."""


class ObjectStore:
    """A store of objects; see ``services.stores.artifacts.ArtifactStore`` for what each method promises.

    Args:
        url: such as ``s3://bucket/twostream``.
        cache: local folder of what was fetched.
    """

    def __init__(self, url: str, cache: Path) -> None:
        self._files, root = fsspec.url_to_fs(url)
        self.address = re.sub("//[^/@]*@", "//", url)
        self._root, self._cache = str(root), cache

    def add(
        self,
        folder: Path,
        files: Sequence[str],
        key: str,
        attempt: int,
        name: str,
        held: Mapping[str, str] | None = None,
    ) -> str:
        """Send files, and have the store copy those that it holds; it takes each as a whole."""
        place = Place(key, attempt, name).path
        target = self._at(place)
        with self._asked():
            for parent in sorted({f"{target}/{file}".rpartition("/")[0] for file in files}):
                self._files.makedirs(parent, exist_ok=True)
            copied = self._copy(held or {}, target)
            fresh = [file for file in files if file not in copied]
            self._files.put([str(folder / file) for file in fresh], [f"{target}/{file}" for file in fresh])
        return place

    def _copy(self, held: Mapping[str, str], target: str) -> Set[str]:
        """Have the store copy files, and return which it has copied."""
        try:
            self._files.copy([self._at(place) for place in held.values()], [f"{target}/{file}" for file in held])
        except FileNotFoundError:  # a collection of the cache has just taken one
            return set()
        return held.keys()

    def published(self, key: str, name: str) -> dict[int, list[str]]:
        """Return the files of each attempt, as the store lists them now."""
        with self._asked():
            self._files.invalidate_cache()  # other hosts write there
            paths = self._files.find(self._at(stage_folder(key)))
        return by_attempt(map(self._place, paths), key, name)

    def bring(self, files: Sequence[str], key: str, attempt: int, name: str, folder: Path) -> None:
        """Copy files; each gets its name when it is complete."""
        source = self._at(Place(key, attempt, name).path)
        targets = [folder / file for file in files]
        partial = [temporary(target) for target in targets]
        with self._asked():
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            self._files.get([f"{source}/{file}" for file in files], [str(path) for path in partial])
            for path, target in zip(partial, targets, strict=True):
                path.replace(target)

    def fetch(self, place: str) -> Path:
        """Return the folder of the cache into which it is copied once."""
        target = self._cache / place
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            with self._asked(place):
                self._files.get(f"{self._at(place)}/", f"{partial}/fetched/", recursive=True)
            with contextlib.suppress(OSError):  # another thread or process has just put the same there
                Path(partial, "fetched").rename(target)
        if not target.is_dir():
            raise Denied(f"artifact cache at {self._cache}: cannot keep {place}")
        return target

    def find(self, key: str, attempt: int, name: str) -> str | None:
        """Return the place below which there are objects."""
        place = Place(key, attempt, name).path
        with self._asked():
            return place if self._files.isdir(self._at(place)) else None

    def discard(self, key: str, attempt: int, name: str) -> None:
        """Remove objects one by one."""
        if (place := self.find(key, attempt, name)) is not None:
            with self._asked(), contextlib.suppress(FileNotFoundError):  # a collection of the cache has just taken it
                self._files.rm(self._at(place), recursive=True)

    def survey(self) -> Iterator[StoredFile]:
        """Yield every object below the stages, as the store lists them now."""
        with self._asked():
            self._files.invalidate_cache()
            found = self._files.find(self._at(STAGES_FOLDER), detail=True)
        for path, facts in found.items():
            place = self._place(path)
            yield StoredFile(place, int(facts.get("size") or 0), modified_at(facts), (place,))

    def take(self, place: str) -> None:
        """Remove objects one by one; what a crash leaves is found by the next survey."""
        with self._asked(place):
            if self._files.isdir(self._at(place)):
                self._files.rm(self._at(place), recursive=True)

    def empty_trash(self) -> None:
        """Do nothing: there is no trash."""

    def _at(self, place: str) -> str:
        return f"{self._root}/{place}"

    def _place(self, path: str) -> str:
        """Return the path of an object relative to the root, however its store begins it."""
        return path.lstrip("/").removeprefix(f"{self._root.strip('/')}/")

    def _asked(self, place: str = "") -> AbstractContextManager[None]:
        return asking(self.address, Exception, place)  # each store's library has errors of its own


def modified_at(facts: Mapping[str, Any]) -> float:
    """Return when an object was written, in seconds since 1970, by the name that its store gives it; now if unknown."""
    found = next((facts[name] for name in MODIFIED if facts.get(name) is not None), None)
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return time.time() if found is None else float(found)
