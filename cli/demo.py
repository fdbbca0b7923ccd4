"""`twostream demo`: two experiments on generated or own clips, from POST to the leaderboard and the runs in MLflow."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from rich.text import Text
from rich.tree import Tree

from cli.board import print_board
from cli.client import Client
from cli.connection import http_client
from cli.errors import StackError
from cli.output import console
from cli.own_clips import OwnClips
from cli.stack.home import Home
from cli.stack.process import Command, Process, describe_exit
from cli.target import home, stack_addresses
from cli.terminal import one_line, print_json, say
from cli.watch import Watch
from services.cache.sizes import word_bytes
from services.tracking.addresses import experiments_page, runs_page
from services.words import counted

SUBMISSIONS: tuple[dict[str, Any], ...] = ({"recipe": "demo_ts_lstm"}, {"recipe": "demo_mean_pooling"})
BOARD = {"dataset": "motion_shapes", "split": "mean", "stream": "two-stream"}
START_SECONDS, MLFLOW_SECONDS = 900.0, 60.0
MLFLOW_POLL_SECONDS = 1.0
"""Between two looks at MLflow, which tells nobody that a run has arrived."""
STOP_SECONDS = 120.0
SHOWN = 3
GENERATED = "400 clips (28 MB)"
"""Of `motion_shapes` with its defaults, measured."""
WEIGHTS = "the weights of EfficientNet-Lite0 (19 MB) came with twostream"
Json = dict[str, Any]


class OwnStack:
    """A stack that the demo starts in the home and stops again; killed with the demo, should that be killed."""

    def __init__(self, place: Home) -> None:
        self._home = place
        self._log = place.logs / "up.log"
        self._shown = self._log.stat().st_size if self._log.exists() else 0

    def start(self, seconds: float) -> None:
        """Start it and wait at most ``seconds`` until the API and the worker answer; show its lines meanwhile."""
        argv = (sys.executable, "-m", "cli.stack")
        environment = {**os.environ, "TWOSTREAM_HOME": str(self._home.path)}
        self._process = Process.start(
            Command("stack", argv, self._log, environment, grace_seconds=STOP_SECONDS, death_signal=signal.SIGTERM)
        )
        self._process.wait_until(self._ready, seconds)
        self._show()

    def stop(self) -> None:
        """Stop it and show how it went.

        Raises:
            StackError: it had ended before, so that whatever the demo saw was not its own.
        """
        ended = not self._process.running()
        self._process.stop()
        self._show()
        if ended:
            raise StackError(f"the stack {describe_exit(self._process.child.returncode)} during the demo")

    def _ready(self, pid: int) -> bool:
        self._show()
        state = self._home.read_state()
        return state is not None and state.pid == pid and {"api", "worker"} <= set(state.ready)

    def _show(self) -> None:
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._shown)
            for line in log:
                say(f"  {line.rstrip()}", error=True)
            self._shown = log.tell()


class Demo:
    """The demo.

    Args:
        json: prints one JSON document at the end, and all else to standard error.
        submissions: bodies for ``POST /experiments``.
        clips: a user's own, on which other networks are trained in place of ``submissions``; None for generated ones.
        start_seconds: how long the stack may take to come up, with room for parts that are started again.
        mlflow_seconds: how long it waits for what MLflow has yet to hear.
    """

    def __init__(
        self,
        *,
        json: bool,
        submissions: Sequence[Json] = SUBMISSIONS,
        clips: OwnClips | None = None,
        start_seconds: float = START_SECONDS,
        mlflow_seconds: float = MLFLOW_SECONDS,
    ) -> None:
        self._json, self._clips = json, clips
        self._submissions = submissions if clips is None else clips.submissions
        self._board = BOARD if clips is None else clips.board
        self._start_seconds, self._mlflow_seconds = start_seconds, mlflow_seconds

    def run(self) -> int:
        """Return 0 when both experiments succeeded, 1 otherwise.

        Raises:
            StackError: the stack does not come up.
            CommandError: the API refuses.
        """
        place = home()
        self._say(self._sizes(place))
        if os.environ.get("TWOSTREAM_API_URL") or place.is_up():
            return self._train()
        self._say(f"starting the stack in {place.path}")
        stack = OwnStack(place)
        try:
            stack.start(self._start_seconds)
            code = self._train()
        finally:
            stack.stop()
        self._say(
            f"to see it again: twostream up, then open the API that it names; {_taken(place.path)} lie in {place.path}"
        )
        return code

    def _sizes(self, place: Home) -> str:
        """Say what is read and written, before it is."""
        if self._clips is None:
            return f"{GENERATED} are made below {place.path}; nothing is downloaded"
        read = f"{counted(self._clips.count, 'clip')} ({word_bytes(self._clips.bytes)}) are read"
        return f"{read}; {WEIGHTS}; nothing is downloaded"

    def _train(self) -> int:
        with Client.connect() as client:
            return self._train_with(client)

    def _train_with(self, client: Client) -> int:
        if self._clips is not None:
            self._clips.register(client, home().path / "demo")
        submitted = [client.post("/experiments", body) for body in self._submissions]
        for experiment in submitted:
            self._say(f"POST {client.url}/experiments  {experiment['name']}: {experiment['id']}")
        finished = Watch(client, [experiment["id"] for experiment in submitted], quiet=self._json).run()
        board = client.get("/leaderboard", **self._board)
        mlflow = os.environ.get("TWOSTREAM_MLFLOW_URL") or stack_addresses().get("mlflow")
        runs = Runs(client, mlflow).wait_for(finished, self._mlflow_seconds) if mlflow else []
        if self._json:
            shown = {"url": mlflow, "page": _page(mlflow, runs), "runs": runs}
            print_json({"experiments": finished, "leaderboard": board, "mlflow": shown})
        else:
            print_board(board)
            say(f"leaderboard  {client.url}/")
            say(f"MLflow       {_page(mlflow, runs) or 'address unknown'}")
            for run in runs:
                console().print(_tree(run), soft_wrap=True)
        return 0 if all(experiment["state"] == "succeeded" for experiment in finished) else 1

    def _say(self, line: str) -> None:
        say(line, error=self._json)


class Runs:
    """The runs of experiments in MLflow, by its REST API."""

    def __init__(self, client: Client, url: str) -> None:
        self._client, self._url = client, url.rstrip("/")

    def wait_for(self, experiments: list[Json], seconds: float) -> list[Json]:
        """Return parent runs with their ``children``, once all are told; MLflow may lag behind, or be away.

        Metrics reach MLflow through an outbox, so that what is missing after ``seconds`` comes later and is not lost.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = [run for experiment in experiments if (run := self._of(experiment)) is not None]
            if len(found) == len(experiments) and all(run["complete"] for run in found):
                return found
            if time.monotonic() > deadline:
                say(f"MLflow at {self._url} does not have every run yet", error=True)
                return found
            time.sleep(MLFLOW_POLL_SECONDS)

    def _of(self, experiment: Json) -> Json | None:
        """Return an experiment's parent run and the runs of its stages, or None while there is none."""
        run_id = self._client.get(f"/experiments/{experiment['id']}")["mlflow_run_id"]
        if run_id is None:
            return None
        stages = self._client.get(f"/experiments/{experiment['id']}/stages")
        expected = {stage["mlflow_run_id"] for stage in stages if stage["started_at"] and not stage["reused"]}
        try:
            parent = self._ask("GET", "runs/get", params={"run_id": run_id})["run"]
            query = {
                "experiment_ids": [parent["info"]["experiment_id"]],
                "filter": f"tags.`mlflow.parentRunId` = '{run_id}'",
                "max_results": 1000,
            }
            children = self._ask("POST", "runs/search", json=query).get("runs", [])
        except (httpx.HTTPError, LookupError, TypeError, ValueError):  # the latter: what answers there is no MLflow
            return None
        children.sort(key=lambda run: run["info"]["start_time"])
        complete = parent["info"]["status"] != "RUNNING" and expected <= {run["info"]["run_id"] for run in children}
        return {**parent, "children": children, "shared": experiment["reused"], "complete": complete}

    def _ask(self, method: str, path: str, **options: Any) -> Json:
        with http_client(self._url, timeout=10.0) as client:
            response = client.request(method, f"{self._url}/api/2.0/mlflow/{path}", **options)
        response.raise_for_status()
        answer: Json = response.json()
        return answer


def _page(mlflow: str | None, runs: Sequence[Json]) -> str | None:
    """Return where MLflow shows runs, or all of its experiments where there are none yet."""
    if mlflow is None:
        return None
    return runs_page(mlflow, runs[0]["info"]["experiment_id"]) if runs else experiments_page(mlflow)


def _taken(folder: Path) -> str:
    """Word what the files below a folder take; one that goes meanwhile counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return word_bytes(total)


def _tree(run: Json) -> Tree:
    """Draw a parent run with its children and their last metrics."""
    tree = Tree(_line(run))
    for child in run["children"]:
        tree.add(_line(child))
    if run["shared"]:
        tree.add(f"{counted(run['shared'], 'stage')} shared with earlier experiments; their runs lie below those")
    return tree


def _line(run: Json) -> Text:
    """Word a run: its id, name, state and accuracies, or whatever metrics it has."""
    info = run["info"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"].get("metrics", [])}
    chosen = {name: value for name, value in metrics.items() if "top1" in name} or dict(list(metrics.items())[:SHOWN])
    values = ", ".join(f"{name} {value:.4g}" for name, value in chosen.items())
    return Text(one_line(f"run {info['run_id']}  {info['run_name']}  {info['status'].lower()}  {values}".rstrip()))
