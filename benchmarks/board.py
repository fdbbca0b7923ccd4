"""How long does GET /leaderboard take at 100 requests a second over 100,000 results, and MLflow for the same ranking?

Usage: ``python -m benchmarks.board [SECONDS]``: how long the load lasts each time.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
from sqlalchemy import Engine, create_engine, text

from benchmarks import report
from benchmarks.stack import Stack, running
from services.db.engine import Database

GROWTH = (1_000, 10_000, 100_000, 1_000_000)
MEASURED = 100_000
RUNS = (10_000, 30_000)
RATE, THREADS = 100, 8
ARRIVAL_SECONDS = 2
"""Between two results that arrive under the load, each of which makes every page of the dataset anew."""
SETTLE_SECONDS = 10
SYSTEMS, CLIPS, SPLITS = 1000, 3783, 3
PER_EXPERIMENT = 12
"""Results: three streams, three splits and their mean."""
STREAMS = ("rgb", "flow", "two-stream")
PAGES = [f"&stream={stream}&split={split}&limit={n}" for stream in STREAMS for split in ("mean", 1) for n in (20, 100)]
BOARD = "/leaderboard?dataset=motion_shapes"
FILL = """
INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)
SELECT 'exp_b' || n, 'system ' || n, 'bench', 'motion_shapes', '{"model": {"kind": "ts_lstm", "hidden": [1024]}}',
       'succeeded', '' FROM generate_series(CAST(:first AS int), :last) AS n;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, clips)
SELECT 'exp_b' || n, 'motion_shapes', stream, nullif(split, 0), NULL, repeat('0', 64), 'ts_lstm', 'system ' || n, 3783
FROM generate_series(CAST(:first AS int), :last) AS n, unnest(ARRAY['rgb', 'flow', 'two-stream']) AS stream,
     generate_series(0, 3) AS split;
INSERT INTO result_value (result_id, metric, value, merit, lower, upper, dataset, stream, split, revision, protocol,
                          model, source, seeds)
SELECT id, 'top1', value, value, value, value, dataset, stream, coalesce(split, 0), revision, protocol, model,
       'trained', seeds
FROM (SELECT result.*, random() + id * 0 AS value FROM result WHERE id > :after) AS drawn;
INSERT INTO result_hits (result_id, within, truth, seeds, bits)
SELECT result_id, 1, 'truth of ' || (split > 0), 1, bits FROM result_value
JOIN system ON system.place = floor(value * :systems) AND system.mean = (split = 0) WHERE result_id > :after
"""
MLFLOW = """
INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri,
                  experiment_id)
SELECT md5(n::text), 'system ' || n, 'UNKNOWN', 'bench', 'FINISHED', n, n, 'active', '', :experiment
FROM generate_series(CAST(:first AS int), :last) AS n;
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
SELECT key, random(), n, 0, false, md5(n::text) FROM generate_series(CAST(:first AS int), :last) AS n,
     unnest(ARRAY['two-stream.top1.mean', 'two-stream.top1.split_1', 'two-stream.top1.split_2',
                  'two-stream.top1.split_3']) AS key;
INSERT INTO tags (key, value, run_uuid)
SELECT key, 'x', md5(n::text) FROM generate_series(CAST(:first AS int), :last) AS n,
     unnest(ARRAY['dataset', 'stream', 'protocol', 'model']) AS key
"""


def systems(engine: Engine) -> None:
    """Write systems of every rate, which are right about mostly the same clips."""
    draw = np.random.default_rng(0)
    rows = []
    for mean, clips in ((False, CLIPS), (True, CLIPS * SPLITS)):
        ease = np.arange(clips) / clips
        for place in range(SYSTEMS):
            right = np.argsort(ease + draw.normal(0, 0.1, clips)) < (place + 0.5) / SYSTEMS * clips
            rows.append({"mean": mean, "place": place, "bits": np.packbits(right).tobytes()})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE system (mean boolean, place int, bits bytea, PRIMARY KEY (mean, place))"))
        connection.execute(text("INSERT INTO system VALUES (:mean, :place, :bits)"), rows)
        connection.execute(text("INSERT INTO protocol VALUES (repeat('0', 64), '{}', 'protocol')"))


def execute(engine: Engine, statements: str, **values: object) -> None:
    """Run statements in one transaction, and have the planner know of it as autovacuum does within a minute."""
    with engine.begin() as connection:
        for statement in statements.split(";\n"):
            query = text(statement)
            connection.execute(query, {name: values[name] for name in query.compile().params})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def fill(engine: Engine, first: int, last: int) -> None:
    """Write the results of experiments as `services.board.results` does."""
    with engine.connect() as connection:
        after = connection.scalar(text("SELECT coalesce(max(id), 0) FROM result"))
    execute(engine, FILL, first=first, last=last, after=after, systems=SYSTEMS)


def offered(api: httpx.URL, ask: Callable[[int], tuple[str, dict[str, str], int]], seconds: int) -> list[float]:
    """Return milliseconds from when each request was due, at `RATE` a second: one that begins late counts as waiting.

    Args:
        api: address of the API.
        ask: gives path, headers and expected status of a request, by its number.
        seconds: to go on for.
    """
    start = time.perf_counter() + 0.2
    own = threading.local()  # a connection for each thread; the plainest client, which shares the cores with the server

    def send(number: int) -> float:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(api.host, api.port)
        path, headers, status = ask(number)
        own.connection.request("GET", path, headers=headers)
        with own.connection.getresponse() as answer:
            answer.read()
            assert answer.status == status, (answer.status, path)
        return (time.perf_counter() - start - number / RATE) * 1000

    sent = []
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(RATE * seconds):
            time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
            sent.append(pool.submit(send, number))
    return [future.result() for future in sent]


def cpu_ms(stack: Stack) -> float:
    """Return the processor time that the API has taken, which other programs do not lengthen."""
    home = stack.environment["TWOSTREAM_HOME"]
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if "api.app:create_app" in (process.info["cmdline"] or ()) and process.environ()["TWOSTREAM_HOME"] == home:
                spent = process.cpu_times()
                return 1000 * float(spent.user + spent.system)
    raise SystemExit("no API serves this stack")


def load(stack: Stack, engine: Engine, seconds: int) -> None:
    """Print the load at 100 requests a second: pages that are kept, pages that results make anew, and 304."""
    pages = [BOARD + page for page in PAGES]
    tags = [stack.api.get(page).headers["etag"] for page in pages]
    size = len(pages)
    base = stack.api.base_url
    asked: dict[str, Callable[[int], tuple[str, dict[str, str], int]]] = {
        "GET /health/live, 100/s": lambda _: ("/health/live", {}, 200),
        "leaderboard, 100/s": lambda n: (pages[n % size], {}, 200),
        "304, 100/s": lambda n: (pages[n % size], {"If-None-Match": tags[n % size]}, 304),
    }
    for (name, ask), goal in zip(asked.items(), ("", "p99 <= 50 ms", "p99 <= 10 ms"), strict=True):
        before = cpu_ms(stack)
        report.line(name, offered(base, ask, seconds), None, goal)
        print(
            f"  processor time of the API: {(cpu_ms(stack) - before) / (RATE * seconds):.1f} ms a request", flush=True
        )
    over = threading.Event()

    def arrive() -> None:
        while not over.wait(ARRIVAL_SECONDS):
            with engine.begin() as connection:
                connection.execute(text("UPDATE result SET excluded = excluded WHERE experiment_id = 'exp_b1'"))

    with ThreadPoolExecutor(1) as writer:
        writer.submit(arrive)
        try:
            arriving = offered(base, asked["leaderboard, 100/s"], seconds)
        finally:
            over.set()
    report.line(f"the same, a result every {ARRIVAL_SECONDS} s", arriving, None, "p99 <= 50 ms")


def fresh(stack: Stack, times: int = 30) -> list[float]:
    """Return milliseconds of a page that nobody has asked for: other limits are other pages."""
    return [page_anew(stack) for _ in range(times)]


def page_anew(stack: Stack) -> float:
    """Return milliseconds of one such page."""
    page = f"{BOARD}&limit={next(FRESH)}"
    return timed(lambda: stack.api.get(page))


FRESH: Iterator[int] = itertools.count(100)


def timed(call: Callable[[], httpx.Response]) -> float:
    start = time.perf_counter()
    answer = call()
    spent = (time.perf_counter() - start) * 1000
    assert answer.status_code == 200, answer.text
    return spent


def rival(stack: Stack, home: Engine) -> None:
    """Print the same ranking by MLflow's `search_runs`, in turn with ours."""
    url = stack.environment["TWOSTREAM_MLFLOW_URL"]
    store = create_engine(home.url.set(database="mlflow"))
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as mlflow:
        made = mlflow.post("/api/2.0/mlflow/experiments/create", json={"name": "bench"})
        experiment = made.raise_for_status().json()["experiment_id"]
        asked = {
            "experiment_ids": [experiment],
            "order_by": ["metrics.`two-stream.top1.mean` DESC"],
            "max_results": 100,
        }
        first = 1
        for runs in RUNS:
            execute(store, MLFLOW, experiment=int(experiment), first=first, last=runs)
            first = runs + 1
            theirs, ours, kept = [], [], []
            for _ in range(10):
                theirs.append(timed(lambda: mlflow.post("/api/2.0/mlflow/runs/search", json=asked)))
                ours.append(page_anew(stack))
                kept.append(timed(lambda: stack.api.get(f"{BOARD}&limit=100")))
            report.line(f"search_runs over {runs:,} runs", theirs)
            ratios = [statistics.median(theirs) / statistics.median(found) for found in (ours, kept)]
            print(f"  against a page of 100 made anew {ratios[0]:.1f} x, kept {ratios[1]:.1f} x", flush=True)
    store.dispose()


def main(arguments: list[str]) -> None:
    """Print the figures."""
    seconds = int(arguments[0]) if arguments else 20
    print(report.machine())
    with running("--no-worker", parts=frozenset({"api", "mlflow"})) as stack:
        time.sleep(SETTLE_SECONDS)
        engine = Database(stack.database_url, patience_seconds=300).engine  # no request writes that much
        systems(engine)
        first = 1
        for results in GROWTH:
            last = results // PER_EXPERIMENT + 1
            fill(engine, first, last)
            first = last + 1
            before = cpu_ms(stack)
            report.line(f"a page of 100 made anew, {results:,} results", found := fresh(stack))
            print(f"  processor time of the API: {(cpu_ms(stack) - before) / len(found):.1f} ms a page", flush=True)
            if results == MEASURED:
                load(stack, engine, seconds)
                rival(stack, engine)
        engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1:])
