"""One child process of the stack: started in a session of its own, watched, and ended in order."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli.errors import StackError

LAUNCHER = Path(__file__).with_name("launch.py")
FIRST_POLL_SECONDS, LAST_POLL_SECONDS, POLL_GROWTH = 0.02, 0.4, 1.2
"""Pauses between two looks at a part: its end, its answer and a signal to us are waited for at once."""
LAST_LINES = 15
RUN_SECONDS = 600.0
"""Time for a short program such as initdb, which waits for the disk."""


@dataclass(frozen=True)
class Command:
    """What to run.

    Attributes:
        name: the part's name in messages and in the name of its log file.
        argv: program and arguments; the program is searched for in ``PATH``.
        log: file that receives standard output and standard error.
        env: the whole environment; None inherits ours.
        user: uid and gid to run as; None is our own.
        stop_signal: asks for an orderly end.
        grace_seconds: time for that end before SIGKILL.
        death_signal: sent by the kernel when our main thread dies.
        pass_fds: open descriptors that the program inherits under the same numbers; no other program does.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = None
    user: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    pass_fds: tuple[int, ...] = ()

    def launched(self) -> list[str]:
        """Return the argument list that goes through the launcher."""
        program = shutil.which(self.argv[0])
        if program is None:
            raise StackError(f"{self.name}: program not found: {self.argv[0]}")
        user = "-" if self.user is None else f"{self.user[0]}:{self.user[1]}"
        launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(self.death_signal)), user]
        return [*launcher, program, *self.argv[1:]]


@dataclass
class Process:
    """A running child. Start it from the main thread: the kernel ties its life to the thread that forked it."""

    command: Command
    child: subprocess.Popen[bytes]
    started_at: float = field(default_factory=time.monotonic)

    @classmethod
    def start(cls, command: Command) -> Process:
        """Start the command with its output appended to its log file."""
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            child = subprocess.Popen(
                command.launched(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=command.env,
                cwd="/",
                start_new_session=True,
                pass_fds=command.pass_fds,
            )
        return cls(command, child)

    @property
    def name(self) -> str:
        """The part's name."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group and session."""
        return self.child.pid

    def running(self) -> bool:
        """Say whether the process has not ended."""
        return self.child.poll() is None

    def wait_until(
        self, healthy: Callable[[int], bool], deadline_seconds: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Wait until the part answers.

        Args:
            healthy: asked with the process id, at first often, then every 0.4 s.
            deadline_seconds: counted from the start of the process.
            pause: sleeps; it may raise to give up.

        Raises:
            StackError: the process ended or the deadline passed; the message holds the log's last lines.
        """
        poll_seconds = FIRST_POLL_SECONDS
        while not healthy(self.pid):
            if not self.running():
                raise StackError(
                    f"{self.name} {describe_exit(self.child.returncode)} during its start{self.last_words()}"
                )
            if time.monotonic() - self.started_at > deadline_seconds:
                raise StackError(f"{self.name} does not answer after {deadline_seconds:.0f} s{self.last_words()}")
            pause(poll_seconds)
            poll_seconds = min(poll_seconds * POLL_GROWTH, LAST_POLL_SECONDS)

    def last_words(self) -> str:
        """Return the last lines of the log, and its path, ready to follow a message."""
        lines = self.command.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "".join(f"\n  {line}" for line in [f"log: {self.command.log}", *lines])

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End the process and what is left of its group: an orderly end within its grace, then SIGKILL.

        Args:
            hurry: cuts the grace short when it turns true.
        """
        deadline = time.monotonic() + self.command.grace_seconds
        if self.running():
            self.child.send_signal(self.command.stop_signal)
        while self.running() and time.monotonic() < deadline and not hurry():
            time.sleep(FIRST_POLL_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # when nothing outlived the leader
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait()


def run(
    command: Command, *, stdin: bytes = b"", timeout_seconds: float = RUN_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Run a short program to its end and return its output (standard error included).

    Raises:
        StackError: never for an exit code; only when the program does not exist, or does not end in time.
    """
    try:
        return subprocess.run(
            command.launched(),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.env,
            cwd="/",
            check=False,
            pass_fds=command.pass_fds,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired as error:
        program = Path(command.argv[0]).name
        raise StackError(f"{command.name}: {program} did not end within {timeout_seconds:.0f} s") from error


def describe_exit(code: int | None) -> str:
    """Say in words how a process ended."""
    if code is None:
        return "is running"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
