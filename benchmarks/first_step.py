"""How soon after POST does a warm worker take its first training step, beside the bare import of torch?"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from datetime import datetime
from typing import Any

import httpx

from benchmarks import report
from benchmarks.stack import running

ROUNDS = 12
POLL_SECONDS = 0.05
"""Between two looks for the end; the figures are the service's own times, not those of a look."""
SPEC: dict[str, Any] = {
    "dataset": "motion_shapes",
    "splits": [1],
    "streams": ["rgb"],
    "backbone": {"name": "tiny", "finetune": None, "weights": "none"},
    "model": {"kind": "ts_lstm", "hidden": [16]},
    "training": {"epochs": 1},
}


def run(api: httpx.Client, spec: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Submit, wait for the end, and return the experiment and its stages."""
    made = api.post("/experiments", json=spec).raise_for_status().json()
    while True:
        experiment = api.get(f"/experiments/{made['id']}").json()
        if experiment["state"] in {"succeeded", "failed"}:
            assert experiment["state"] == "succeeded", experiment["message"]
            return experiment, api.get(f"/experiments/{made['id']}/stages").json()
        time.sleep(POLL_SECONDS)


def first_step_ms(api: httpx.Client, spec: dict[str, Any]) -> tuple[float, float]:
    """Return milliseconds from the experiment's row to the first step, and to the claim of its training."""
    experiment, stages = run(api, spec)
    posted = datetime.fromisoformat(experiment["created_at"]).timestamp()
    train = next(stage for stage in stages if stage["kind"] == "train")
    claimed = datetime.fromisoformat(train["started_at"]).timestamp()
    events = api.get(f"/experiments/{experiment['id']}/events").text
    reported = [line for line in events.splitlines() if '"reported_at"' in line and '"train_loss"' in line]
    assert reported, "training reported no epoch"
    first = float(reported[0].split('"reported_at":')[1].split(",")[0].strip(" }"))
    return (first - posted) * 1000, (claimed - posted) * 1000


def fresh_process_ms() -> float:
    """Return milliseconds of a Python process that imports what a training stage imports, and ends."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import worker.stages.train"], check=True)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    """Print the figures."""
    print(report.machine())
    with running() as stack:
        run(stack.api, SPEC)  # index and features are there from now on; both fork servers are warm
        # another rate is another training, on the same features
        rates = [{"optimizer": {"learning_rate": 1e-4 * n}} for n in range(1, ROUNDS + 1)]
        specs = [SPEC | {"training": {"epochs": 1, **rate}} for rate in rates]
        pairs = [first_step_ms(stack.api, spec) for spec in specs]
        floor = [fresh_process_ms() for _ in range(5)]
    report.line("a fresh process that imports torch (rival)", floor)
    report.line("POST to the claim of training", [claimed for _, claimed in pairs], floor)
    report.line("POST to the first trained epoch", [first for first, _ in pairs], floor)
    ratio = statistics.median(floor) / statistics.median([first for first, _ in pairs])
    print(f"a warm worker is {ratio:.1f} x as fast as the import alone")


if __name__ == "__main__":
    main()
