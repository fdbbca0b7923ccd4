"""A stack as a real process of a test."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from cli.stack.home import Home, State

PATIENCE_SECONDS = 240.0
"""Longer than anything takes that a test waits for, on a machine that is busy with other things."""


def until(
    true: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, *, details: Callable[[], str] = str
) -> None:
    """Wait until something holds; details are asked for when it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{details()}"
        time.sleep(0.05)


@dataclass
class Up:
    """`python -m cli.stack` as a process of this test."""

    home: Home
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
        self.output = self.home.path / "output"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.stack", *self.arguments],
                env={**clean, "TWOSTREAM_HOME": str(self.home.path), **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    @property
    def state(self) -> State:
        state = self.home.read_state()
        assert state is not None
        return state

    def wait_ready(self, *parts: str) -> None:
        """Wait until the parts answer."""

        def ready() -> bool:
            assert self.process.poll() is None, self.text
            state = self.home.read_state()
            return state is not None and state.pid == self.process.pid and set(parts) <= set(state.ready)

        until(ready, f"{parts} ready", details=self.tell)

    def tell(self) -> str:
        """Return all output, and the end of each part's log."""
        logs = [f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(self.home.logs.glob("*.log"))]
        return "\n".join([self.text, str(self.home.read_state()), *logs])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


def all_gone(processes: list[psutil.Process]) -> bool:
    """Say whether none of the processes runs any more."""
    return all(gone(process) for process in processes)


def gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; a zombie that nobody reaps has."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two questions
        return True


def listening(parent: psutil.Process, port: int) -> set[int]:
    """Return which of a process and its descendants hold a socket that listens on a port."""
    found = set()
    for process in [parent, *parent.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            sockets = process.net_connections("tcp")
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in sockets):
                found.add(process.pid)
    return found
