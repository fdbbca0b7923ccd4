"""The folder of one embedded stack (`TWOSTREAM_HOME`): who holds it, what runs in it, and what an earlier run left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cli.errors import StackError

FOLDERS = ("logs", "postgres", "redis", "mlflow", "artifacts", "data", "work", "doctor")
SPARED = ("mlflow", "doctor")
"""Of these, those that everything else goes on without: who uses one says what is wrong with it."""
"""All that lies below a home; who else is on the host looks into none of them."""
PRIVATE, OWNER_ONLY = 0o700, 0o600
"""Permissions of folders, and of files with a secret."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Child:
    """A process as the state file remembers it; ``created`` (Unix time) tells it from a later one of the same id."""

    name: str
    pid: int
    created: float


@dataclass
class State:
    """What ``stack.json`` says.

    Attributes:
        pid: process that holds the home.
        run: id of the run, see ``leftovers.MARK``.
        addresses: URL of ``api``, ``mlflow``, ``database`` and ``redis``; passwords included, so the file is private.
        ready: names of the parts that answer.
        children: the processes that were started.
    """

    pid: int
    run: str
    addresses: dict[str, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)


@dataclass(frozen=True)
class Home:
    """Paths below ``TWOSTREAM_HOME`` and the lock on it."""

    path: Path

    @property
    def logs(self) -> Path:
        """Folder of one log file for each part."""
        return self.path / "logs"

    @property
    def state_file(self) -> Path:
        """The state, a JSON file."""
        return self.path / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Locked while a stack runs; holds the pid of its owner."""
        return self.path / "stack.lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the home; the kernel lets go when this process ends in any way.

        Raises:
            StackError: another process holds it, or the folder cannot be made.
        """
        self.make_private()
        try:
            lock = self.lock_file.open("a+")
        except OSError as error:
            raise StackError(f"TWOSTREAM_HOME {self.path}: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = self.lock_file.read_text().strip() or "unknown"
                raise StackError(
                    f"a stack is already up in {self.path} (process {owner}); "
                    "hint: stop it first, or set TWOSTREAM_HOME to another folder"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def make_private(self) -> None:
        """Make the folders below the home, readable by their owner alone, whatever the home's own mode is.

        PostgreSQL runs as another user when we are root: the home then lets others pass, but shows them nothing.

        Raises:
            StackError: a folder cannot be made, or belongs to another user.
        """
        folder = self.path
        try:
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            for folder in (self.path / name for name in FOLDERS):
                with contextlib.suppress(OSError) if folder.name in SPARED else contextlib.nullcontext():
                    folder.mkdir(mode=PRIVATE, exist_ok=True)
                    if stat.S_IMODE(folder.stat().st_mode) != PRIVATE:
                        folder.chmod(PRIVATE)
        except OSError as error:
            raise StackError(f"TWOSTREAM_HOME {folder}: {error.strerror}") from error

    def is_up(self) -> bool:
        """Say whether a stack holds this home now."""
        if not self.lock_file.exists():
            return False
        with self.lock_file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def read_state(self) -> State | None:
        """Return the state of the present or the last run, if there was one and a power cut has left it whole."""
        try:
            content: dict[str, Any] = json.loads(self.state_file.read_text())
            children = [Child(**child) for child in content.pop("children")]
            return State(**content, children=children)
        except (FileNotFoundError, PermissionError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s is unreadable, and taken for none: %s", self.state_file, error)
            return None

    def write_state(self, state: State) -> None:
        """Replace the state file, readable by its owner alone."""
        from services.stores.files import write_atomically

        write_atomically(self.state_file, json.dumps(asdict(state), indent=1).encode(), OWNER_ONLY)

    def forget_state(self) -> None:
        """Remove the state file: nothing runs any more."""
        self.state_file.unlink(missing_ok=True)

    def password(self) -> str:
        """Return the password of the embedded servers, made at the first start."""
        file = self.path / "password"
        if not file.exists():
            import secrets

            from services.stores.files import write_atomically

            # Lost in a power cut, it would lock its owner out of the database.
            write_atomically(file, secrets.token_urlsafe(24).encode(), OWNER_ONLY)
        return file.read_text()
