"""A whole stack in a temporary home, for the benchmarks of the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 180
POLL_SECONDS = 0.2
"""Between two looks at the state file, which is replaced as parts begin to answer; a start is not measured here."""


@dataclass(frozen=True)
class Stack:
    """Addresses of a running stack and the environment of its processes."""

    api: httpx.Client
    database_url: str
    environment: dict[str, str]


@contextmanager
def running(*options: str, parts: frozenset[str] = frozenset({"api", "worker"})) -> Iterator[Stack]:
    """Start `python -m cli.stack` in an empty home, wait for its parts, and stop it at the end.

    The database password is in the environment of the API alone, so it is read from there.
    """
    with tempfile.TemporaryDirectory(prefix="twostream-bench-") as folder:
        environment = os.environ | {"TWOSTREAM_HOME": folder}
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.stack", *options], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            state = _wait_for(Path(folder), parts, process)
            own = _environment_of(folder)
            with httpx.Client(base_url=state["addresses"]["api"], timeout=60, trust_env=False) as api:
                yield Stack(api, own["TWOSTREAM_DATABASE_URL"], own)
        finally:
            process.terminate()
            process.wait(120)


def _wait_for(home: Path, parts: frozenset[str], process: subprocess.Popen[bytes]) -> dict[str, dict[str, str]]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        file = home / "stack.json"
        if file.exists():
            state: dict[str, dict[str, str]] = json.loads(file.read_text())
            if parts <= set(state["ready"]):
                return state
        time.sleep(POLL_SECONDS)
    raise SystemExit(f"the stack in {home} did not start")


def _environment_of(home: str) -> dict[str, str]:
    """Return the environment of the API process that serves a home."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = dict(pair.split("=", 1) for pair in entry.read_text().split("\0") if "=" in pair)
            command = entry.with_name("cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if pairs.get("TWOSTREAM_HOME") == home and "api.app" in command:
            return pairs
    raise SystemExit(f"no API process serves {home}")
