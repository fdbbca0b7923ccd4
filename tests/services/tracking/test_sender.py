"""The process that sends: its pauses, what it leaves behind at a server that hangs, and that nothing ends it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import psutil
import pytest
from mlflow import MlflowClient

from services.db.engine import Database
from services.errors import Unavailable
from services.journal import tracker_state
from services.stores.artifacts import ArtifactStore
from services.tracking import sender
from services.tracking.sender import Backoff, Tracker
from tests.services.tracking.conftest import Server, counted, require_all, run_with_curves, told

pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
PATIENCE_SECONDS = 240


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def test_pauses_double_up_to_a_limit_with_a_share_of_chance() -> None:
    backoffs = [Backoff() for _ in range(200)]
    rounds = [[backoff.after(success=False) for backoff in backoffs] for _ in range(12)]
    for number, pauses in enumerate(rounds):
        longest = min(sender.FIRST_PAUSE_SECONDS * 2**number, sender.LAST_PAUSE_SECONDS)
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
        assert mean(pauses) == pytest.approx(0.75 * longest, rel=0.1)
    assert backoffs[0].after(success=True) == sender.POLL_SECONDS
    assert backoffs[0].after(success=False) <= sender.FIRST_PAUSE_SECONDS


def test_nothing_ends_the_rounds_and_each_cause_is_told_once(
    database: Database, store: ArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()
    causes = [ValueError("odd"), ValueError("odd"), Unavailable("MLflow at http://x: away"), RuntimeError("odd"), None]

    class Failing(Tracker):
        def drain(self, keep: Callable[[], None] = lambda: None) -> int:
            cause = causes.pop(0)
            if not causes:
                over.set()
            if cause is not None:
                raise cause
            return 0

    with caplog.at_level(logging.WARNING):
        sender._send_until(over, Failing("http://x", database, store), database, Backoff(0.01))
    assert causes == []
    assert [(record.args[0], bool(record.exc_info)) for record in caplog.records if record.args] == [
        ("ValueError: odd", True),
        ("Unavailable: MLflow at http://x: away", False),
        ("RuntimeError: odd", True),
    ]


def half_closed(port: int) -> int:
    """Return how many connections at a port are closed on one side only (in CLOSE_WAIT or a state of FIN)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[3] in {"04", "05", "08"} and int(fields[1].split(":")[1], 16) == port for fields in lines)


@pytest.mark.long  # `test_tracking.py` has one that is away
def test_a_server_that_hangs_keeps_no_connections_and_hears_everything_once_it_goes_on(
    database: Database, client: MlflowClient, server: Server, store: ArtifactStore, tmp_path: Path, database_url: str
) -> None:
    experiment_id = run_with_curves(database, store, tmp_path)
    process = psutil.Process(server.process.pid)
    environment = os.environ | {
        "TWOSTREAM_DATABASE_URL": database_url,
        "TWOSTREAM_MLFLOW_URL": server.url,
        "TWOSTREAM_ARTIFACT_ROOT": str(tmp_path / "store"),
        "TWOSTREAM_WORK_ROOT": str(tmp_path),
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    }
    process.suspend()
    try:
        argv = [sys.executable, "-m", "services.tracking.sender"]
        sender = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment)
        until(lambda: told(database, "mlflow.held"), "the sender finds that MLflow hangs")
        with database.transaction() as session:
            assert "timeout" in str(tracker_state.view(session).message)
        until(lambda: half_closed(server.port) == 0, "no connection lingers: what hangs answers none's end")
    finally:
        process.resume()

    def waiting() -> int:
        with database.transaction() as session:
            return tracker_state.view(session).waiting

    until(lambda: waiting() == 0, "everything is heard")
    sender.communicate(timeout=PATIENCE_SECONDS)
    assert sender.returncode == 0
    require_all(database, client, experiment_id)
    assert counted(database) == []
