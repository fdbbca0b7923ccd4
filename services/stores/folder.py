"""The artifact store on a folder of this machine or one that it shares with others: files are linked, not copied."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from services.errors import Denied
from services.stores.files import empty_trash, link_file, remove
from services.stores.names import STAGES_FOLDER, Place, stage_folder
from services.stores.places import StoredFile, asking, by_attempt


class FolderStore:
    """A store on a folder; see ``services.stores.artifacts.ArtifactStore`` for what each method promises.

    Args:
        root: the folder; it is made when something is published.
    """

    def __init__(self, root: Path) -> None:
        self.address = str(root)
        self._root = root

    def add(
        self,
        folder: Path,
        files: Sequence[str],
        key: str,
        attempt: int,
        name: str,
        held: Mapping[str, str] | None = None,  # noqa: ARG002 - a link costs nothing, whether the store has the file or not
    ) -> str:
        """Link files; each gets its name when it is complete."""
        place = Place(key, attempt, name).path
        target = self._root / place
        with self._asked():
            target.mkdir(parents=True, exist_ok=True)
            for file in files:
                link_file(folder / file, target / file)
        return place

    def published(self, key: str, name: str) -> dict[int, list[str]]:
        """Return the files of each attempt."""
        return by_attempt((file.path for file in walk(self._root, stage_folder(key))), key, name)

    def bring(self, files: Sequence[str], key: str, attempt: int, name: str, folder: Path) -> None:
        """Link files."""
        source = self._root / Place(key, attempt, name).path
        with self._asked():
            for file in files:
                link_file(source / file, folder / file)

    def fetch(self, place: str) -> Path:
        """Return the published folder itself."""
        folder = self._root / place
        if not folder.is_dir():
            raise Denied(f"artifact store at {self.address}: nothing at {place}")
        return folder

    def find(self, key: str, attempt: int, name: str) -> str | None:
        """Return the place of a folder that is there."""
        place = Place(key, attempt, name).path
        return place if (self._root / place).is_dir() else None

    def discard(self, key: str, attempt: int, name: str) -> None:
        """Remove a folder where it lies: the trash is of the one collection at work, and this of any worker."""
        if (place := self.find(key, attempt, name)) is not None:
            with self._asked(), contextlib.suppress(FileNotFoundError):  # a collection of the cache has just taken it
                shutil.rmtree(self._root / place)

    def survey(self) -> Iterator[StoredFile]:
        """Yield every file below the stages."""
        yield from walk(self._root, STAGES_FOLDER)

    def take(self, place: str) -> None:
        """Move a folder into the trash, at once and as a whole, and remove it there."""
        with self._asked(place):
            remove(self._root / place, self._root)

    def empty_trash(self) -> None:
        """Remove what is in the trash."""
        empty_trash(self._root)

    def _asked(self, place: str = "") -> AbstractContextManager[None]:
        return asking(self.address, OSError, place)


def walk(root: Path, folder: str) -> Iterator[StoredFile]:
    """Yield the files below a folder of a root; those that go meanwhile are left out."""
    for parent, _, names in os.walk(root / folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):
                facts = path.lstat()
                identity = (facts.st_dev, facts.st_ino)
                yield StoredFile(str(path.relative_to(root)), facts.st_size, facts.st_mtime, identity, facts.st_nlink)
