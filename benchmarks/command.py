"""What does a plain command cost in CPU, beside bare Python and Python with HTTPX that asks the same?

The API is a stub in this process, which answers at once: a command's own time does not depend on who answers.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import report

ROUNDS = 15
GOAL_SECONDS = 0.3
ID = "exp_0193a1b2c3d4e5f60718"
COMMAND = str(Path(sys.executable).with_name("twostream"))
EXPERIMENT: dict[str, Any] = {
    "id": ID,
    "name": "small",
    "state": "succeeded",
    "owner": "local",
    "dataset": "motion_shapes",
    "recipe": None,
    "priority": 0,
    "cause": None,
    "message": None,
    "mlflow_run_id": None,
    "tags": [],
    "note": "",
    "archived": False,
    "withdrawn": None,
    "edits": 0,
    "sweep_id": None,
    "trial": None,
    "time_left_seconds": None,
    "flags": [],
    "reused": 0,
    "progress": {"stages": {"succeeded": 5}, "total": 5},
    "spec": {"splits": [1], "seeds": [0]},
    **dict.fromkeys(("created_at", "started_at", "finished_at"), "2026-01-01T00:00:00+00:00"),
}
STAGE: dict[str, Any] = {
    "key": "0" * 64,
    "kind": "train",
    "name": "train rgb",
    "state": "succeeded",
    "split": 1,
    "stream": "rgb",
    "seed": 0,
    "attempt": 1,
    "progress": None,
    "reused": False,
    "inputs": [],
    "message": None,
    "summary": None,
    "time_left_seconds": None,
    "starts_in_seconds": None,
}
ENTRY: dict[str, Any] = {
    "rank": 1,
    "rank_group": 1,
    "experiment_id": ID,
    "name": "small",
    "model": "ts_lstm",
    "network": "ts_lstm",
    "value": 0.5,
    "std": None,
    "confidence_interval": [0.4, 0.6],
    "splits": {"1": 0.5},
    "split_std": None,
    "missing_splits": [],
    "seeds": 1,
    "clips": 100,
    "excluded": 0,
    "selected_on_test": False,
    "varied": {},
}
BOARD: dict[str, Any] = {
    "dataset": "motion_shapes",
    "revision": 1,
    "superseded": False,
    "split": "1",
    "stream": "rgb",
    "metric": "top1",
    "protocol": "p",
    "vary": [],
    "other_protocols": {},
    "other_revisions": {},
    "rows": [ENTRY] * 10,
    "incomplete": [],
    "total": 10,
    "total_incomplete": 0,
    "significance": None,
    "next_cursor": None,
    "published": None,
}
ANSWERS: Mapping[str, Any] = {
    "/experiments": {"items": [EXPERIMENT] * 20, "next_cursor": None, "total": 20},
    f"/experiments/{ID}": EXPERIMENT,
    f"/experiments/{ID}/stages": [STAGE] * 5,
    "/leaderboard": BOARD,
}
BY_HTTPX = "import os, httpx; httpx.get(os.environ['TWOSTREAM_API_URL'] + '/experiments').raise_for_status().json()"
CASES: Mapping[str, tuple[str, ...]] = {
    "bare Python": (sys.executable, "-c", "pass"),
    "Python with HTTPX, one GET (floor)": (sys.executable, "-c", BY_HTTPX),
    "twostream --version": (COMMAND, "--version"),
    "twostream list": (COMMAND, "list"),
    "twostream list --json": (COMMAND, "list", "--json"),
    "twostream show": (COMMAND, "show", ID),
    "twostream leaderboard": (COMMAND, "leaderboard"),
}


class Stub(BaseHTTPRequestHandler):
    """Answers what is known."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # noqa: D102 - the name that the server calls
        content = json.dumps(ANSWERS[self.path.partition("?")[0]]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def cpu_seconds(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return user and system seconds of a command that ends well."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the figures; fail where a command's median is beyond the goal."""
    print(report.machine())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "TWOSTREAM_API_URL": f"http://127.0.0.1:{server.server_port}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found: dict[str, list[float]] = {name: [] for name in CASES}
    for turn in range(ROUNDS + 1):
        for name, command in CASES.items():
            seconds = cpu_seconds(command, environment)
            if turn:  # the first one compiles
                found[name].append(seconds)
    server.shutdown()
    _, floor, *commands = found
    for name, values in found.items():
        p50 = statistics.median(values)
        times = f"p50 {1000 * p50:5.0f} ms  least {1000 * min(values):5.0f} ms"
        print(f"{name:36} CPU {times}  {p50 / statistics.median(found[floor]):4.2f} x floor")
    return int(any(statistics.median(found[name]) > GOAL_SECONDS for name in commands))


if __name__ == "__main__":
    sys.exit(main())
