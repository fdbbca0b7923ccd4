"""How many stages a second can workers claim, over the floor of committing one update a claim?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import text

from benchmarks import report
from benchmarks.stack import running
from services.db.engine import Database
from services.queue.claim import claim as take

STAGES = 3000
THREADS = 4


def fill(database: Database) -> None:
    """Put ready stages of three owners and many priorities into the queue, each of an experiment."""
    with database.transaction() as session:
        session.execute(text("TRUNCATE experiment, stage, event, outbox CASCADE"))
        session.execute(
            text("""
            INSERT INTO experiment (id, name, owner, dataset, spec, body_digest)
            SELECT 'exp_' || n, 'e', 'owner' || n % 3, 'd', '{}', '' FROM generate_series(1, :n / 10) AS n"""),
            {"n": STAGES},
        )
        session.execute(
            text("""
            INSERT INTO stage (key, kind, params, label, queue, state, priority, owner, timeout_seconds, ready_at)
            SELECT 'key' || n, 'train', '{}', 'train', 'gpu', 'ready', n % 7, 'owner' || n % 3, 60, now()
            FROM generate_series(1, :n) AS n"""),
            {"n": STAGES},
        )
        session.execute(
            text("""
            INSERT INTO experiment_stage (experiment_id, stage_key, position)
            SELECT 'exp_' || (n - 1) / 10 + 1, 'key' || n, n FROM generate_series(1, :n) AS n"""),
            {"n": STAGES},
        )


def rate(work: Callable[[], bool]) -> float:
    """Return calls a second until one returns False, over several threads."""
    done = [0] * THREADS

    def run(number: int) -> None:
        while work():
            done[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - start)


def main() -> None:
    """Print the figures."""
    print(report.machine())
    with running("--no-worker", parts=frozenset({"api"})) as stack:
        database = Database(stack.database_url, pool_size=THREADS)
        fill(database)

        def claim() -> bool:
            with database.transaction() as session:
                found = take(session, ["gpu"], worker_id="bench", device="cpu", lease_seconds=600)
            return found is not None

        claims = rate(claim)
        fill(database)
        numbers = iter(range(1, STAGES + 1))

        def update() -> bool:
            number = next(numbers, None)
            if number is None:
                return False
            with database.transaction() as session:
                session.execute(text("UPDATE stage SET attempt = 1 WHERE key = :key"), {"key": f"key{number}"})
            return True

        floor = rate(update)
        print(f"claims by {THREADS} threads, {STAGES} stages ready   {claims:7.0f} /s   goal >= 300 /s")
        print(f"floor: one committed update each            {floor:7.0f} /s   claims are {claims / floor:.2f} x floor")
        database.close()


if __name__ == "__main__":
    main()
