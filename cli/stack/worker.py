"""A Celery worker as a child process, and its command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.stack.http import json_of
from cli.stack.process import Command


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker serves.

    Attributes:
        queues: names of the queues, ``cpu`` and ``gpu``.
        device: ``auto``, ``cpu`` or ``cuda:N``.
        concurrency: stages that run at once; None lets the worker choose for this host.
    """

    queues: tuple[str, ...] = ("cpu", "gpu")
    device: str = "auto"
    concurrency: int | None = None

    def argv(self) -> tuple[str, ...]:
        """Return the program and its arguments."""
        # fmt: off
        concurrency = () if self.concurrency is None else ("--concurrency", str(self.concurrency))
        return (
            sys.executable, "-m", "celery", "-A", "worker.host.tasks", "worker", "--pool", "threads",
            "--loglevel", "INFO", "--without-gossip", "--without-mingle", "--queues", ",".join(self.queues),
            *concurrency,
        )
        # fmt: on

    def env(self) -> dict[str, str]:
        """Return the environment variables that go with the arguments."""
        return {"TWOSTREAM_DEVICE": self.device}


@dataclass(frozen=True)
class CeleryWorker:
    """One Celery worker.

    Attributes:
        options: what it serves.
        api: base URL of the API, which knows the workers that reported.
        token: the API's bearer token, if it wants one.
        grace_seconds: time for running stages to write their checkpoints.
        env: environment with every address that the worker needs.
        log: its log file.
    """

    options: WorkerOptions
    api: str
    token: str | None
    grace_seconds: float
    env: Mapping[str, str]
    log: Path

    def prepare(self) -> None:
        """Nothing to make ready."""

    def command(self) -> Command:
        """Return the worker's command."""
        env = {**self.env, **self.options.env()}
        return Command("worker", self.options.argv(), self.log, env, grace_seconds=self.grace_seconds)

    def healthy(self, pid: int) -> bool:
        """Say whether the worker of this process has reported for work."""
        answer = json_of(f"{self.api}/workers", self.token)
        workers = answer["items"] if isinstance(answer, dict) else answer or []
        return any(worker["pid"] == pid and worker["state"] == "alive" for worker in workers)
