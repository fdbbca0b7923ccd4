"""The whole of TS-LSTM's paper by one request: how much of it is shared, and how long does it take in a small form?

Starts a whole stack, asks for a dry run, launches every figure that the paper measured itself on `motion_shapes` with
the backbone `tiny`, waits, and prints Table 3 filled beside the printed values. The same request again must add
nothing.
`--table 3` launches one table alone.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks import report
from benchmarks.stack import Stack, running

PAPER = "/papers/ts_lstm"
REDUCED = {"dataset": "motion_shapes", "backbone": "tiny", "epochs": 2, "batch_size": 16, "flow": "farneback"}
POLL_SECONDS = 2.0
LAUNCH_SECONDS = 600.0
READS = 100
Json = dict[str, Any]


def launch(stack: Stack, place: str, *, dry_run: bool = False) -> tuple[Json, float]:
    """Send one request, and return its answer and the seconds that it took."""
    began = time.perf_counter()
    query = "?dry_run=true" if dry_run else ""
    answer = stack.api.post(f"{place}/launch{query}", json=REDUCED, timeout=LAUNCH_SECONDS)
    answer.raise_for_status()
    found: Json = answer.json()
    return found, time.perf_counter() - began


def wait(stack: Stack, ids: list[str]) -> dict[str, int]:
    """Wait until experiments have ended, and return how many are in which state."""
    while True:
        states: dict[str, int] = {}
        for id_ in ids:
            state = stack.api.get(f"/experiments/{id_}").json()["state"]
            states[state] = states.get(state, 0) + 1
        if not states.keys() & {"queued", "running"}:
            return states
        time.sleep(POLL_SECONDS)


def show(stack: Stack) -> None:
    """Print Table 3 beside what was measured."""
    for row in stack.api.get(f"{PAPER}/tables/3").json()["rows"]:
        measured = row["measured"]
        value = "-" if measured is None else f"{100 * measured['value']:5.1f} on {measured['dataset']}"
        print(f"  {row['row']:34} printed {row['printed']:5.1f}   measured {value:24}  {row['missing'] or ''}")


def reads(stack: Stack) -> list[float]:
    """Return the milliseconds that reading Table 7, of 28 rows, takes."""
    found = []
    for _ in range(READS):
        began = time.perf_counter()
        stack.api.get(f"{PAPER}/tables/7").raise_for_status()
        found.append(1000 * (time.perf_counter() - began))
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="one table alone")
    table = parser.parse_args().table
    place = PAPER if table is None else f"{PAPER}/tables/{table}"
    print(report.machine(), flush=True)
    with running("--device", "cpu") as stack:
        planned, seconds = launch(stack, place, dry_run=True)
        ratio = planned["planned"] / planned["unique"]
        print(f"dry run of {planned['figures']} figures: {planned['created']} experiments, {seconds:.1f} s", flush=True)
        print(f"  stages planned {planned['planned']}, different {planned['unique']}, ratio {ratio:.2f}", flush=True)
        made, seconds = launch(stack, place)
        print(f"launched by one request: {made['created']} experiments, {seconds:.1f} s", flush=True)
        again, seconds = launch(stack, place)
        print(f"the same again: {again['created']} new, {again['reused']} there, {seconds:.1f} s", flush=True)
        began = time.perf_counter()
        states = wait(stack, [each["id"] for each in made["experiments"]])
        print(f"ended: {states}, {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)
        show(stack)
        report.line("GET a table of 28 rows", reads(stack), goal="goal 50 ms")


if __name__ == "__main__":
    main()
