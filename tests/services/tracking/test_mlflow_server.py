"""A server that is no MLflow, lets nobody in, or has our experiment under another name."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from cli.stack import ports
from services.db.engine import Database
from services.queue import experiments
from services.stores.artifacts import ArtifactStore
from services.tracking.mlflow_server import folder_name
from services.tracking.sender import Tracker
from tests.services.conftest import small_spec, submit
from tests.services.tracking.conftest import Server, new_tracker, require_held

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
FOLDER = folder_name("motion_shapes")


@pytest.mark.skipif(sys.platform != "linux", reason="policies of Linux")
def test_the_server_interrupts_nobody_and_is_not_starved(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    assert process.nice() == psutil.Process().nice()
    assert {os.sched_getscheduler(thread.id) for thread in process.threads()} == {os.SCHED_BATCH}
    group = Path(f"/proc/{process.pid}/autogroup")
    assert not group.exists() or group.read_text().endswith("nice 0\n")


@contextmanager
def answering(status: int, body: bytes, kind: str = "text/html") -> Iterator[str]:
    """A server at MLflow's address that is none, or that lets nobody in: each request gets the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - names of the library

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((ports.LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{ports.LOOPBACK}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        pytest.param(200, b"<html>Welcome</html>", "text/html", id="a page"),
        pytest.param(200, b"", "text/plain", id="nothing"),
        pytest.param(200, b"{}", "application/json", id="empty JSON"),
        pytest.param(200, b'{"experiment": {"experiment_id": "7", "name": "x"}}', "application/json", id="another's"),
        pytest.param(401, b"You are not authenticated", "text/plain", id="no password"),
        pytest.param(403, json.dumps({"error_code": "PERMISSION_DENIED"}).encode(), "application/json", id="no right"),
        pytest.param(404, b"<html>Not found</html>", "text/html", id="no endpoint"),
        pytest.param(404, b'{"detail": "Not Found"}', "application/json", id="no endpoint in JSON"),
        pytest.param(429, b"slower", "text/plain", id="too much"),
        pytest.param(500, b"oops", "text/plain", id="a fault"),
        pytest.param(502, b"<html>Bad Gateway</html>", "text/html", id="a gateway"),
    ],
)
def test_what_is_no_mlflow_or_lets_nobody_in_holds_everything(
    database: Database, store: ArtifactStore, status: int, body: bytes, kind: str
) -> None:
    submit(database, small_spec())
    with answering(status, body, kind) as url:
        require_held(database, new_tracker(url, database, store))


def test_a_renamed_experiment_is_known_by_its_id(
    database: Database, tracker: Tracker, client: MlflowClient, server: Server, store: ArtifactStore
) -> None:
    submit(database, small_spec())
    tracker.drain()
    folder = client.get_experiment_by_name(FOLDER)
    client.rename_experiment(folder.experiment_id, "mine")
    try:
        row = submit(database, small_spec(name="second")).row
        new_tracker(server.url, database, store).drain()
        with database.transaction() as session:
            run = client.get_run(experiments.get(session, row.id).mlflow_run_id)
        assert run.info.experiment_id == folder.experiment_id
        assert client.get_experiment_by_name(FOLDER) is None
    finally:
        client.rename_experiment(folder.experiment_id, FOLDER)
