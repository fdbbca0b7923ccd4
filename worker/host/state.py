"""The state of an attempt: put together from what earlier attempts left on any host, and published while it grows.

The output comes in the end; what of it is state under another name need not travel twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path

from services.errors import Unavailable
from services.queue.claim import Claim
from services.stores.artifacts import ArtifactStore
from services.stores.files import finished_files, link_file
from services.stores.names import OUTPUT, STATE, Place

BATCH_FILES = 16
"""Files that go out at once, between two looks at whether to stop; object stores take them side by side."""

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]


class State:
    """What an attempt can go on from.

    In the store an attempt has what it made itself, and nothing that came from there: its first publication is no
    dearer than the next ones, and `restore` puts the attempts together. So none of them has to be complete, and one
    that dies while it publishes takes nothing away from the one that follows.

    Args:
        store: where other hosts look.
        claim: the attempt.
        work: root of the folders of this host's attempts.
    """

    def __init__(self, store: ArtifactStore, claim: Claim, work: Path) -> None:
        self._store, self._claim, self._work = store, claim, work
        self._published: dict[str, Stamp] = {}
        self._places: dict[Stamp, str] = {}

    def restore(self, folder: Path) -> None:
        """Take over what earlier attempts left, on this host or else in the store: the latest file of each name.

        Raises:
            Unavailable: the store does not answer.
        """
        folder.mkdir(parents=True)
        published = self._store.published(self._claim.key, STATE) if self._claim.attempt > 1 else {}
        for number in range(self._claim.attempt - 1, 0, -1):
            earlier = self._work / Place(self._claim.key, number, STATE).path
            here = [*finished_files(earlier)]
            if not here and number <= self._claim.state_dropped_at_attempt:
                return
            missing = [file for file in here or published.get(number, []) if not (folder / file).exists()]
            if not missing:
                continue
            if here:
                for file in missing:
                    link_file(earlier / file, folder / file)
            else:
                self._store.bring(missing, self._claim.key, number, STATE, folder)
                self._published |= {file: _stamp(folder / file) for file in missing}
            who = f"{self._claim.label}: attempt {self._claim.attempt}"
            log.info("%s takes over %d files of attempt %d", who, len(missing), number)

    def publish(self, folder: Path, stop: threading.Event) -> None:
        """Bring to the store what is new or was replaced since the last call, until told to stop.

        Raises:
            Unavailable: the store does not take it; what it took is not sent again.
        """
        stamps = {}
        for file in finished_files(folder):
            with contextlib.suppress(FileNotFoundError):  # the stage has just taken it away, to make it again
                stamps[file] = _stamp(folder / file)
        fresh = [file for file, stamp in stamps.items() if self._published.get(file) != stamp]
        for first in range(0, len(fresh), BATCH_FILES):
            if stop.is_set():
                return
            batch = fresh[first : first + BATCH_FILES]
            place = self._store.add(folder, batch, self._claim.key, self._claim.attempt, STATE)
            for file in batch:
                if file in self._published:
                    self._places.pop(self._published[file], None)  # another is there now
                self._published[file] = stamps[file]
                self._places[stamps[file]] = f"{place}/{file}"

    def publish_output(self, folder: Path) -> str:
        """Publish the finished output and return its place; what of it went out as state the store copies by itself.

        Raises:
            Unavailable: the store does not take it.
        """
        stamps = {file: _stamp(folder / file) for file in finished_files(folder)}
        held = {file: self._places[stamp] for file, stamp in stamps.items() if stamp in self._places}
        return self._store.add(folder, [*stamps], self._claim.key, self._claim.attempt, OUTPUT, held)

    def discard(self) -> None:
        """Remove what this and earlier attempts have in the store; what it keeps, a collection of the cache takes."""
        try:
            for number in range(1, self._claim.attempt + 1):
                self._store.discard(self._claim.key, number, STATE)
        except Unavailable as error:
            log.warning("%s: its state stays in the store: %s", self._claim.label, error)


def _stamp(path: Path) -> Stamp:
    """Return what differs once a file was replaced."""
    facts = path.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
