"""Which temporal networks see order? All of them on `motion_shapes`, whose classes pooling cannot tell apart.

Submits one experiment for each network through `POST /experiments` to a stack of its own, all on the same features,
and prints `GET /leaderboard`: three splits, both streams, with the distance to the better of the two pooling heads.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import httpx

from benchmarks import report
from benchmarks.stack import running

Json = dict[str, Any]

POLL_SECONDS = 2.0
"""Between two looks at experiments that take minutes: no figure depends on when an end is noticed."""
FEW: Json = {"epochs": 20}
"""Enough for networks on maps, which cost most."""
MAPS: Json = {"hidden": 32, "fc_dim": 64, "dropout": 0.3}
ATTENTION: Json = {**MAPS, "attention_dim": 32}
NETWORKS: dict[str, Json] = {
    "mean pooling": {"model": {"kind": "mean_pooling"}},
    "max pooling": {"model": {"kind": "max_pooling"}},
    "LSTM": {"model": {"kind": "lstm", "hidden": [64]}},
    "TS-LSTM": {"model": {"kind": "ts_lstm", "segments": 5, "hidden": [64]}},
    "Temporal-Inception": {"model": {"kind": "temporal_convnet", "fc_dim": 64}},
    "ConvLSTM": {"model": {"kind": "conv_lstm", **MAPS}, "training": FEW},
    "ConvALSTM": {"model": {"kind": "conv_alstm", **ATTENTION}, "training": FEW},
    "VideoLSTM": {"model": {"kind": "video_lstm", **ATTENTION}, "training": FEW},
    "Relational LSTM": {"model": {"kind": "relational_lstm", "segments": 12, "hidden": 32, "dropout": 0.3}},
    "memory": {"model": {"kind": "memory", "hidden": 64, "controller": 64, "dropout": 0.3}},
}
POOLING = ("mean pooling", "max pooling")
TRAINING: Json = {"epochs": 40, "batch_size": 32, "optimizer": {"learning_rate": 3e-3}, "checkpoint_epochs": 10}
"""As in the recipe `demo_ts_lstm`."""


def body(name: str, changes: Json) -> Json:
    """Return what to submit: the recipe's backbone, flow and evaluation, a network and its training."""
    own = NETWORKS[name]
    return {"recipe": "demo_ts_lstm", "name": name, **own, "training": TRAINING | own.get("training", {}) | changes}


def wait(api: httpx.Client, ids: dict[str, str]) -> None:
    """Wait until every experiment has ended, and say so of each."""
    waiting = dict(ids)
    while waiting:
        for name, experiment in list(waiting.items()):
            found = api.get(f"/experiments/{experiment}").json()
            if found["state"] in ("succeeded", "failed", "cancelled"):
                print(f"{name}: {found['state']} {found['message'] or ''}".rstrip(), flush=True)
                del waiting[name]
        time.sleep(POLL_SECONDS)


def board(api: httpx.Client) -> None:
    """Print the leaderboard of the mean of the three splits, both streams."""
    answer = api.get("/leaderboard", params={"dataset": "motion_shapes", "split": "mean", "stream": "two-stream"})
    rows = answer.raise_for_status().json()["rows"]
    ceiling = max(row["value"] for row in rows if row["name"] in POOLING)
    for rank, row in enumerate(rows, 1):
        splits = " / ".join(f"{100 * value:.2f}" for _, value in sorted(row["splits"].items()))
        print(
            f"{rank:>2}  {row['name']:<18} {row['model']:<16} {100 * row['value']:6.2f} %  splits {splits}"
            f"  {100 * (row['value'] - ceiling):+6.2f} points over pooling",
            flush=True,
        )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="networks, beside pooling")
    parser.add_argument("--epochs", type=int, help="in place of each network's own number")
    arguments = parser.parse_args()
    changes = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    print(report.machine())
    with running() as stack:
        names = [name for name in NETWORKS if name in arguments.only or name in POOLING]
        ids = {}
        for name in names:
            answer = stack.api.post("/experiments", json=body(name, changes))
            assert answer.status_code == 202, answer.text
            ids[name] = answer.json()["id"]
        wait(stack.api, ids)
        board(stack.api)


if __name__ == "__main__":
    main()
