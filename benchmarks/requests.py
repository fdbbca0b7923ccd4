"""How long do POST /experiments and GET /leaderboard take, over the floor of an HTTP request that does nothing?"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

import httpx
from sqlalchemy import text

from benchmarks import report
from benchmarks.stack import running
from services.db.engine import Database
from services.metrics import of_scores

REQUESTS = 300
WARM_UP = 20
SETTLE_SECONDS = 15
"""After the start, in which MLflow's client is still being loaded beside the API."""
PAUSE_SECONDS = 0.2
"""Between two submissions: no user submits faster for long, and MLflow gets each meanwhile."""
RESULTS = 100_000


def timed(call: Callable[[], httpx.Response], status: int, pause: float = 0.0) -> list[float]:
    """Return the milliseconds of each call after a warm-up, with a pause of seconds between two."""
    spent = []
    for number in range(WARM_UP + REQUESTS):
        time.sleep(pause)
        start = time.perf_counter()
        answer = call()
        if number >= WARM_UP:
            spent.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == status, answer.text
    return spent


def fill(database: Database) -> None:
    """Write results of experiments: three splits, their mean, three streams, as `services.board.results` would."""
    per_experiment = 12
    experiments = RESULTS // per_experiment + 1
    with database.transaction() as session:
        session.execute(
            text("""
            INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)
            SELECT 'exp_b' || n, 'system ' || n, 'bench', 'motion_shapes', '{}', 'succeeded', ''
            FROM generate_series(1, :n) AS n"""),
            {"n": experiments},
        )
        digest = {"digest": "0" * 64}
        session.execute(text("INSERT INTO protocol (digest, fields, line) VALUES (:digest, '{}', 'protocol')"), digest)
        session.execute(
            text("""
            INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name, clips)
            SELECT 'exp_b' || n, 'motion_shapes', stream, nullif(split, 0), NULL, :digest, 'ts_lstm', 'system ' || n,
                   3783
            FROM generate_series(1, :n) AS n, unnest(ARRAY['rgb', 'flow', 'two-stream']) AS stream,
                 generate_series(0, 3) AS split"""),
            digest | {"n": experiments},
        )
        for metric in of_scores():
            session.execute(
                text("""
                INSERT INTO result_value (result_id, metric, value, merit, lower, upper,
                                          dataset, stream, split, revision, protocol)
                SELECT id, :metric, value, value, value, value, dataset, stream, coalesce(split, 0), revision, protocol
                FROM result, LATERAL (SELECT random() + id * 0 AS value) AS drawn"""),
                {"metric": metric},
            )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))  # as autovacuum does within a minute


def main() -> None:
    """Print the figures."""
    print(report.machine())
    with running("--no-worker", parts=frozenset({"api", "mlflow"})) as stack:
        time.sleep(SETTLE_SECONDS)
        floor = timed(lambda: stack.api.get("/health/live"), 200)
        report.line("GET /health/live (floor)", floor)
        seeds = count(1)
        small = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"], "backbone": {"name": "tiny"}}
        line = timed(lambda: stack.api.post("/experiments", json=small | {"seeds": [next(seeds)]}), 202, PAUSE_SECONDS)
        report.line("POST /experiments, 6 stages", line, floor, "goal p99 <= 50 ms")
        demo = {"recipe": "demo_ts_lstm"}
        line = timed(lambda: stack.api.post("/experiments", json=demo | {"seeds": [next(seeds)]}), 202, PAUSE_SECONDS)
        report.line("POST /experiments, 24 stages", line, floor, "goal p99 <= 50 ms")
        database = Database(stack.database_url, patience_seconds=300)  # no request writes that much
        fill(database)
        database.close()
        for limit in (20, 100):
            query = f"/leaderboard?dataset=motion_shapes&limit={limit}"
            line = timed(lambda query=query: stack.api.get(query), 200)  # type: ignore[misc]
            report.line(f"GET /leaderboard, {RESULTS:,} results, limit {limit}", line, floor, "goal p99 <= 50 ms")
        line = timed(lambda: stack.api.get("/"), 200)
        report.line("GET / (the page)", line, floor)


if __name__ == "__main__":
    main()
