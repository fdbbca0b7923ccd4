"""The artifact store: outputs and resumable state of stages, on a folder or any `fsspec` URL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from services.settings import Settings
from services.stores.folder import FolderStore
from services.stores.objects import ObjectStore
from services.stores.places import StoredFile


class ArtifactStore(Protocol):
    """Publishes files of attempts and brings them back as local ones.

    A place is a folder as ``add`` returns it, relative to the root: the database remembers it.
    """

    @property
    def address(self) -> str:
        """The root as messages name it, without a password."""

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
        (S3, Google, Azure) takes each as a whole. A file that is there already is replaced.

        Args:
            folder: where the files are.
            files: which of them, by their path in it.
            key: the stage.
            attempt: its attempt.
            name: what the folder is to the stage.
            held: of some of these files, where the store has them already; objects it copies from there by itself.

        Returns:
            The place by which ``fetch`` finds them.

        Raises:
            Unavailable: the store does not take it.
        """

    def published(self, key: str, name: str) -> dict[int, list[str]]:
        """Return the files that each attempt at a stage has in the store under a name, by the attempt's number.

        Raises:
            Unavailable: the store does not answer.
        """

    def bring(self, files: Sequence[str], key: str, attempt: int, name: str, folder: Path) -> None:
        """Copy some files that an attempt has published into a local folder; none is ever there in part.

        Raises:
            Denied: one is not there, or there is no place for it here.
            Unavailable: the store does not answer.
        """

    def fetch(self, place: str) -> Path:
        """Return a local folder with what was published; objects are copied into a cache once.

        Raises:
            Denied: it is not there, or there is no place for it here.
            Unavailable: the store does not answer.
        """

    def find(self, key: str, attempt: int, name: str) -> str | None:
        """Return the place of what an attempt published under a name, or None.

        Raises:
            Unavailable: the store does not answer.
        """

    def discard(self, key: str, attempt: int, name: str) -> None:
        """Remove what an attempt published under a name, if it did.

        Raises:
            Unavailable: the store does not answer.
        """

    def survey(self) -> Iterator[StoredFile]:
        """Yield every file that attempts have published, or are just publishing.

        Raises:
            Unavailable: the store does not answer.
        """

    def take(self, place: str) -> None:
        """Remove a folder that no stage names any more.

        On a folder it leaves its place at once and as a whole, so that what a crash leaves is in the trash. Elsewhere
        it goes file by file, and what is left is found by the next survey.

        Raises:
            Unavailable: the store does not answer.
        """

    def empty_trash(self) -> None:
        """Remove what an interrupted `take` left."""


def open_store(settings: Settings) -> ArtifactStore:
    """Return the store at the artifact root; what is fetched from a remote one lies below the work root."""
    files, root = fsspec.url_to_fs(settings.artifacts)
    if isinstance(files, LocalFileSystem):
        return FolderStore(Path(root))
    return ObjectStore(settings.artifacts, settings.work / "cache")
