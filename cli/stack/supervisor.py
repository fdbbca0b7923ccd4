"""The parts that run: watched, ended when they hang at their start, and started again after growing pauses.

A part that the stack needs takes it down when it ends more than ``RESTARTS`` times within ``Limits.window_seconds``,
whether it had answered before or not. One that it can do without never does: it is tried for as long as the stack runs.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psutil

from cli.errors import StackError
from cli.stack import ports
from cli.stack.addresses import without_password
from cli.stack.leftovers import end, family
from cli.stack.process import Command, Process, describe_exit

RESTARTS = 5
WATCH_SECONDS = 0.2
"""Between two looks at all parts, of which any may end or begin to answer: no single event says so."""
FIRST_ASK_SECONDS, LAST_ASK_SECONDS, ASK_SHARE = 0.02, 10.0, 0.05
"""Between two questions whether a part answers: a share of the time for which it has been starting, within bounds."""


@dataclass(frozen=True)
class Limits:
    """How patient a supervisor is.

    Attributes:
        window_seconds: for how long the end of a part counts.
        first_pause_seconds: before the second restart; the first follows at once.
        last_pause_seconds: the pause doubles each time up to this.
        silent_seconds: a part hangs at its start when it neither answers nor uses the processor for so long. A busy
            machine is no reason.
        busy_seconds: processor time within ``silent_seconds`` that shows that a part is at work.
        start_seconds: no start may take longer, busy or not.
    """

    window_seconds: float = 900.0
    first_pause_seconds: float = 1.0
    last_pause_seconds: float = 300.0
    silent_seconds: float = 120.0
    busy_seconds: float = 0.1
    start_seconds: float = 1800.0


class Part(Protocol):
    """What the stack needs to know of a part."""

    @property
    def log(self) -> Path:
        """Its log file."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make ready what the part needs, and recover from an earlier run."""

    def command(self) -> Command:
        """Return what to run."""
        raise NotImplementedError

    def healthy(self, pid: int, /) -> bool:
        """Say whether the part that runs as this process answers."""
        raise NotImplementedError


@dataclass
class Running:
    """A part, its present process, and when it ended.

    Attributes:
        name: the part's name in messages.
        part: what is run.
        url: its address.
        without: what the stack tells when it goes on without a part that keeps ending; None if it needs the part.
        binds: whether the part binds its port itself, so that another program may take it meanwhile.
        move: gives it another port and returns the part and its address, as long as nobody has been told the address.
        shown: gives the address that people are told in place of its own.
        process: None while it waits to be started again.
        ready: whether it has answered.
        ends: when it ended, by the monotonic clock, as far as that still counts.
        start_at: when to start it again.
        ask_at: when to ask it next whether it answers.
        busy_at: when its use of the processor was last looked at.
        processor_seconds: what it had used then.
    """

    name: str
    part: Part
    url: str
    without: str | None = None
    binds: bool = False
    move: Callable[[], tuple[Part, str]] | None = None
    shown: Callable[[], str] | None = None
    process: Process | None = None
    ready: bool = False
    ends: list[float] = field(default_factory=list)
    start_at: float = 0.0
    ask_at: float = 0.0
    busy_at: float = 0.0
    processor_seconds: float = 0.0


class Supervisor:
    """Starts parts and keeps them running.

    Args:
        say: prints one line for the user.
        pause: sleeps; it may raise to give up.
        changed: called when a part was started or has answered.
        limits: its patience.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        pause: Callable[[float], None],
        changed: Callable[[], None] = lambda: None,
        limits: Limits = Limits(),
    ) -> None:
        self._say, self._pause, self._changed, self._limits = say, pause, changed, limits
        self.parts: dict[str, Running] = {}

    def start(self, entry: Running) -> None:
        """Start a part without waiting for it.

        Raises:
            StackError: a part that the stack needs cannot be started at all.
        """
        self.parts[entry.name] = entry
        try:
            self._launch(entry)
        except StackError as error:
            if entry.without is None:
                raise
            self._ended(entry, str(error))

    def wait_for(self, name: str) -> None:
        """Wait for a part's answer, and watch over all others meanwhile; a part that was not started needs none.

        Raises:
            StackError: a part ended too often.
        """
        while name in self.parts and not self.parts[name].ready:
            self.look()
            self._pause(FIRST_ASK_SECONDS)

    def watch(self) -> None:
        """Watch over all parts until ``pause`` raises.

        Raises:
            StackError: a part ended too often.
        """
        while True:
            self._pause(WATCH_SECONDS)
            self.look()

    def look(self) -> None:
        """Look at every part once: start what is due, notice what has ended or hangs, announce what answers."""
        for entry in list(self.parts.values()):
            if entry.process is None:
                self._start_again(entry)
            elif not entry.process.running():
                self._ended(entry, f"{entry.name} {describe_exit(entry.process.child.returncode)}")
            elif not entry.ready and time.monotonic() >= entry.ask_at:
                self._ask(entry, entry.process)

    def stop(self, name: str, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop a part and whatever it started; what is left when the part has ended has nobody to end for."""
        process = self.parts[name].process
        if process is not None:
            descendants = family(process.pid)
            process.stop(hurry)
            end(descendants, signal.SIGKILL)

    def _launch(self, entry: Running) -> None:
        try:
            entry.part.prepare()
            entry.process = Process.start(entry.part.command())
        except OSError as error:
            raise StackError(f"{entry.name}: {error}") from error
        entry.ready = False
        entry.ask_at = entry.busy_at = time.monotonic()
        entry.processor_seconds = 0.0
        self._changed()

    def _start_again(self, entry: Running) -> None:
        if time.monotonic() < entry.start_at:
            return
        try:
            self._launch(entry)
        except StackError as error:
            self._ended(entry, str(error))

    def _ask(self, entry: Running, process: Process) -> None:
        """Ask a part for its first answer; end one that hangs."""
        if entry.part.healthy(process.pid):
            self._announce(entry, process)
            return
        now = time.monotonic()
        entry.ask_at = now + min(max(ASK_SHARE * (now - process.started_at), FIRST_ASK_SECONDS), LAST_ASK_SECONDS)
        if self._hangs(entry, process, now):
            self.stop(entry.name, lambda: True)
            self._ended(entry, f"{entry.name} did not answer within {now - process.started_at:.0f} s")

    def _hangs(self, entry: Running, process: Process, now: float) -> bool:
        """Say whether a part that does not answer has done nothing for too long, or takes too long altogether."""
        if now - process.started_at > self._limits.start_seconds:
            return True
        if now - entry.busy_at < self._limits.silent_seconds:
            return False
        used = _processor_seconds(process.pid)
        difference = abs(used - entry.processor_seconds)  # less than before when a descendant has ended
        entry.busy_at, entry.processor_seconds = now, used
        return difference < self._limits.busy_seconds

    def _announce(self, entry: Running, process: Process) -> None:
        entry.ready, entry.move = True, None
        took = time.monotonic() - process.started_at
        address = entry.shown() if entry.shown is not None else without_password(entry.url)
        self._say(f"{entry.name:8} ready after {took:4.1f} s  {address}".rstrip())
        self._changed()

    def _ended(self, entry: Running, ending: str) -> None:
        """Count the end of a part, and settle when it is started again.

        Raises:
            StackError: the stack needs it, and it has ended too often.
        """
        process, now, limits = entry.process, time.monotonic(), self._limits
        words = "" if process is None else process.last_words()
        if process is not None:
            process.stop()  # what is left of its group
            ending += "" if entry.ready else " during its start"
        entry.process, entry.ready = None, False
        entry.ends = [*(moment for moment in entry.ends if now - moment < limits.window_seconds), now]
        count = len(entry.ends)
        ending += self._about_its_port(entry)
        if entry.without is None and count > RESTARTS:
            raise StackError(f"{ending} for the {count}th time within {limits.window_seconds / 60:.0f} min{words}")
        growing = limits.first_pause_seconds * 2.0 ** (count - 2)
        pause = 0.0 if count == 1 else min(growing, limits.last_pause_seconds)
        entry.start_at = now + pause
        if count <= RESTARTS:
            after = f" in {pause:.0f} s" if pause else ""
            self._say(f"{ending}; starting it again{after} (log: {entry.part.log})")
        elif count == RESTARTS + 1:
            self._say(f"{ending} for the {count}th time; {entry.without} (log: {entry.part.log})")
        self._changed()

    def _about_its_port(self, entry: Running) -> str:
        """Have a part that has lost its port begin on another, if it may; else say so."""
        port = urlsplit(entry.url).port
        if not entry.binds or port is None or not ports.is_taken(port):
            return ""
        if entry.move is None:
            return f" (another program took port {port})"
        self._say(f"{entry.name}: another program took port {port}")
        entry.part, entry.url = entry.move()
        return ""


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of its descendants."""
    used = 0.0
    for process in family(pid):
        try:
            used += sum(process.cpu_times()[:2])
        except psutil.Error:  # it has ended meanwhile
            continue
    try:
        return used + sum(psutil.Process(pid).cpu_times()[:4])
    except psutil.Error:
        return used
