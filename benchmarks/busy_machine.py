"""Which priority keeps both the API quick and MLflow alive while eight processes want the processor?

In one run, in turns and in an order drawn at random: the same MLflow server with other priorities, and one in the API's
session. Each turn asks the API and MLflow one question after the other, and counts the rows of the outbox that MLflow
took meanwhile. ``--seconds`` times seven settings is how long the machine is kept busy. Raising priorities needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import psutil
from sqlalchemy import text

from benchmarks import report
from cli.stack import ports
from cli.stack.api import Api
from cli.stack.http import status_of
from cli.stack.mlflow import Mlflow
from cli.stack.postgres import Postgres, create_database
from cli.stack.process import Command, Process
from cli.stack.redis import Redis
from services.db.engine import Database
from services.db.migrate import upgrade

BUSY = 8  # processes
QUESTION = "/leaderboard?dataset=motion_shapes"
TITLES = (
    f"{'MLflow':32} {'API p50':>8} {'p99':>8} {'ratio':>6} {'MLflow p50':>11} {'max':>8} {'unanswered':>10} "
    f"{'rows/s':>7} {'ratio':>6}"
)
START_SECONDS = 1500.0
PAUSE_SECONDS = 15.0
"""Between two rounds: others may want the machine as well."""
EXPERIMENTS, POINTS = 300, 50
"""What waits in the outbox at the beginning of a turn: more than MLflow takes within it."""
TOGETHER = """
import json, subprocess, sys
programs = json.load(open(sys.argv[1]))
children = [subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, pass_fds=fds) for argv, env, fds in programs]
children[0].wait()
"""
"""Starts several programs in one session, and with it in one scheduling group."""
FILL = """
WITH made AS (
    INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)
    SELECT 'exp_' || gen_random_uuid(), 'busy', 'bench', 'motion_shapes', '{"epochs": 1}', 'running', ''
    FROM generate_series(1, :experiments) RETURNING id
)
INSERT INTO outbox (experiment_id, kind, name, step, data)
SELECT id, CASE n WHEN 0 THEN 'open' WHEN :points + 1 THEN 'status' ELSE 'metric' END, 'loss', n,
       CASE n WHEN 0 THEN '{}' WHEN :points + 1 THEN '{"status": "FINISHED"}'
              ELSE '{"value": 1, "timestamp": 1}' END::jsonb
FROM made, generate_series(0, :points + 1) AS n ORDER BY id, n
"""
FORGET = "UPDATE outbox SET delivered_at = now(), error = 'the turn is over' WHERE delivered_at IS NULL"
COUNT = "SELECT count(*) FROM outbox WHERE delivered_at IS NOT NULL AND error IS NULL"


@dataclass(frozen=True)
class Setting:
    """A priority: niceness of the process, of its scheduling group, its policy, and whose group it is in."""

    name: str
    nice: int = 0
    group: int = 0
    policy: int = os.SCHED_OTHER
    with_api: bool = False


SETTINGS = (
    Setting("none"),
    Setting("process nice 10", nice=10),
    Setting("group nice 10", group=10),
    Setting("both nice 10", nice=10, group=10),
    Setting("group nice 5", group=5),
    Setting("batch", policy=os.SCHED_BATCH),
    Setting("API's session, process nice 10", nice=10, with_api=True),
)


@dataclass
class Tracked:
    """An MLflow server and the database whose outbox is sent to it."""

    url: str
    database: Database
    pid: int


@dataclass
class Figures:
    """What was measured of a setting: milliseconds of each question, rows a second of each turn."""

    api: list[float] = field(default_factory=list)
    mlflow: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    unanswered: int = 0


def apply(setting: Setting, pid: int) -> None:
    """Give every thread of a process its priority, and its group its own."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(thread.name), setting.nice)
        os.sched_setscheduler(int(thread.name), setting.policy, os.sched_param(0))
    if not setting.with_api:
        with contextlib.suppress(OSError):  # no such groups here
            Path(f"/proc/{pid}/autogroup").write_text(str(setting.group))


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """Keep the machine busy with processes of niceness 0, each with a session of its own."""
    processes = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], start_new_session=True)
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ask(question: Callable[[], bool], until: float, spent: list[float]) -> int:
    """Ask one question after the other, note the milliseconds of each, and return how many had no answer."""
    unanswered = 0
    while time.monotonic() < until:
        start = time.perf_counter()
        unanswered += not question()
        spent.append((time.perf_counter() - start) * 1000)
        time.sleep(0.01)
    return unanswered


def delivered(tracked: Tracked) -> int:
    """Return how many rows MLflow has taken."""
    with tracked.database.transaction() as session:
        return int(session.execute(text(COUNT)).scalar_one())


def turn(setting: Setting, tracked: Tracked, api: str, seconds: float, figures: Figures) -> None:
    """Measure one setting for some seconds."""
    apply(Setting("settled"), tracked.pid)
    with tracked.database.transaction() as session:
        session.execute(text(FILL), {"experiments": EXPERIMENTS, "points": POINTS})
    before = delivered(tracked)
    while delivered(tracked) == before:  # the sender may still pause for the turn before
        time.sleep(0.1)
    apply(setting, tracked.pid)
    with busy(BUSY), httpx.Client(base_url=api, timeout=60) as client, ThreadPoolExecutor(2) as pool:
        before, start = delivered(tracked), time.monotonic()
        until = start + seconds
        answers = pool.submit(ask, lambda: client.get(QUESTION).is_success, until, figures.api)
        probes = pool.submit(ask, lambda: status_of(f"{tracked.url}/health") == 200, until, figures.mlflow)
        figures.unanswered += answers.result() + probes.result()
        figures.rows.append((delivered(tracked) - before) / (time.monotonic() - start))
    with tracked.database.transaction() as session:
        session.execute(text(FORGET))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(report.machine(), f"load average {os.getloadavg()[0]:.1f} before")
    measured = {setting.name: Figures() for setting in SETTINGS}
    with contextlib.ExitStack() as stack:
        api, alone, beside = start(stack)
        for number in range(options.rounds):
            time.sleep(PAUSE_SECONDS if number else 0)
            for setting in random.sample(SETTINGS, len(SETTINGS)):
                turn(setting, beside if setting.with_api else alone, api, options.seconds, measured[setting.name])
    print(TITLES)
    floor = measured["none"]
    for name, found in measured.items():
        p99, rows = report.quantile(found.api, 0.99), median(found.rows)
        print(
            f"{name:32} {median(found.api):8.1f} {p99:8.1f} {p99 / report.quantile(floor.api, 0.99):6.2f} "
            f"{median(found.mlflow):11.1f} {max(found.mlflow):8.1f} {found.unanswered:10} {rows:7.1f} "
            f"{rows / max(median(floor.rows), 0.1):6.2f}"
        )


def start(stack: contextlib.ExitStack) -> tuple[str, Tracked, Tracked]:
    """Start everything; return the API's address, an MLflow with a session of its own, and one in the API's."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="twostream-bench-")))
    folder.chmod(0o755)
    with ports.listen(ports.LOOPBACK, 0) as first, ports.listen(ports.LOOPBACK, 0) as second:
        numbers = ports.port_of(first), ports.port_of(second)
    postgres = Postgres(folder / "postgres", numbers[0], "bench", folder / "postgres.log")
    redis = Redis(folder / "redis", numbers[1], "bench", folder / "redis.log")
    for part in (postgres, redis):
        part.prepare()
        run(stack, part.command(), part.healthy)
    servers = {name: mlflow(stack, postgres, folder, name) for name in ("alone", "beside")}
    addresses = {"TWOSTREAM_HOME": str(folder), "TWOSTREAM_REDIS_URL": redis.url}
    environments = {
        name: os.environ
        | addresses
        | {"TWOSTREAM_DATABASE_URL": postgres.url(name), "TWOSTREAM_MLFLOW_URL": server.url}
        for name, server in servers.items()
    }
    quiet = environments["alone"] | {"TWOSTREAM_MLFLOW_URL": ""}
    api = Api(stack.enter_context(ports.listen(ports.LOOPBACK, 0)), quiet, folder / "api.log")
    alone = run(stack, servers["alone"].command(), servers["alone"].healthy)
    sender = (sys.executable, "-m", "services.tracking.sender")
    commands = [api.command(), servers["beside"].command()]
    commands += [Command(name, sender, folder / "sender.log", environments[name]) for name in servers]
    leader = run(stack, together(commands, folder), lambda pid: api.healthy(pid) and servers["beside"].healthy(pid))
    pids = {"alone": alone.pid, "beside": psutil.Process(leader.pid).children()[1].pid}
    tracked = [Tracked(server.url, Database(postgres.url(name)), pids[name]) for name, server in servers.items()]
    for one in tracked:
        stack.callback(one.database.close)
    return api.url, tracked[0], tracked[1]


def mlflow(stack: contextlib.ExitStack, postgres: Postgres, folder: Path, name: str) -> Mlflow:
    """Return an MLflow with a database of its own beside one of ours."""
    for database in (name, f"mlflow_{name}"):
        create_database(postgres.url("postgres"), database)
    upgrade(postgres.url(name))
    listener = stack.enter_context(ports.listen(ports.LOOPBACK, 0))
    store = postgres.url(f"mlflow_{name}")
    server = Mlflow(folder / name, listener, store, dict(os.environ), folder / f"mlflow-{name}.log")
    server.prepare()
    return server


def together(commands: list[Command], folder: Path) -> Command:
    """Return a command that runs several in one session, and with it in one scheduling group."""
    programs = json.dumps([[command.argv, dict(command.env or {}), command.pass_fds] for command in commands])
    descriptors = tuple(descriptor for command in commands for descriptor in command.pass_fds)
    (folder / "programs.json").write_text(programs)
    argv = (sys.executable, "-c", TOGETHER, str(folder / "programs.json"))
    return Command("together", argv, folder / "api.log", pass_fds=descriptors)


def run(stack: contextlib.ExitStack, command: Command, healthy: Callable[[int], bool]) -> Process:
    """Start a program, wait until it answers, and have it stopped in the end."""
    process = Process.start(command)
    stack.callback(process.stop)
    process.wait_until(healthy, START_SECONDS)
    return process


if __name__ == "__main__":
    main()
