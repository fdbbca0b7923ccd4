"""The artifact store: outputs and resumable state of stages, on a folder or any `fsspec` URL."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.errors import Unavailable


class ArtifactStore:
    """Publishes finished folders and brings them back as local ones.

    Outputs of a stage lie below ``stages/<key>/<attempt>``, so that a worker which has lost its lease can never
    overwrite what another attempt published.

    Args:
        root: folder, or URL such as ``s3://bucket/twostream``.
        cache: local folder for what was fetched from a remote root.
    """

    def __init__(self, root: str, cache: Path) -> None:
        self._files, self._root = fsspec.url_to_fs(root)
        self._cache = cache
        self.is_local = isinstance(self._files, LocalFileSystem)

    def publish(self, folder: Path, key: str, attempt: int, name: str = "output") -> str:
        """Copy a folder into the store and return the name by which ``fetch`` finds it; done again it is replaced.

        Raises:
            Unavailable: the store does not take it.
        """
        place = _place(key, attempt, name)
        target = f"{self._root}/{place}"
        try:
            if self.is_local:
                link_tree(folder, Path(target))
            else:
                self._files.put(f"{folder}/", target, recursive=True)
        except OSError as error:
            raise Unavailable(f"artifact store at {self._root}: {error}") from error
        return place

    def fetch(self, place: str) -> Path:
        """Return a local folder with what was published; a remote one is copied into the cache once.

        Raises:
            Unavailable: it is not there, or the store does not answer.
        """
        source = f"{self._root}/{place}"
        if self.is_local:
            if not Path(source).is_dir():
                raise Unavailable(f"artifact store at {self._root}: nothing at {place}")
            return Path(source)
        target = self._cache / place
        if target.is_dir():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as partial:
            try:
                self._files.get(f"{source}/", f"{partial}/fetched/", recursive=True)
            except OSError as error:
                raise Unavailable(f"artifact store at {self._root}: {place}: {error}") from error
            with contextlib.suppress(OSError):  # another thread or process has just put the same there
                Path(partial, "fetched").rename(target)
        if not target.is_dir():
            raise Unavailable(f"artifact cache at {self._cache}: cannot keep {place}")
        return target

    def find(self, key: str, attempt: int, name: str) -> str | None:
        """Return the place of what an attempt published under a name, or None."""
        place = _place(key, attempt, name)
        return place if self._files.isdir(f"{self._root}/{place}") else None

    def discard(self, key: str, attempt: int, name: str) -> None:
        """Remove what an attempt published under a name, if it did."""
        if (place := self.find(key, attempt, name)) is not None:
            self._files.rm(f"{self._root}/{place}", recursive=True)

    def open_file(self, place: str) -> Path:
        """Return a local copy of one published file, named ``<place>/<file>``."""
        folder, _, file = place.rpartition("/")
        return self.fetch(folder) / file


def _place(key: str, attempt: int, name: str) -> str:
    return f"stages/{key[:2]}/{key}/{attempt}/{name}"


def link_tree(source: Path, target: Path) -> None:
    """Copy a folder by hard links where the file system allows, else by bytes; files that are there are replaced.

    Every file of ours is replaced atomically and never changed in place, so a link is as good as a copy.
    """
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.rglob("*")):
        place = target / entry.relative_to(source)
        if entry.is_dir():
            place.mkdir(exist_ok=True)
            continue
        place.unlink(missing_ok=True)
        try:
            place.hardlink_to(entry)
        except OSError:
            shutil.copy2(entry, place)
