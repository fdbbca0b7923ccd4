"""What is done to a fleet while an experiment runs. Each fault returns when its harm is done, or over."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import redis
from sqlalchemy import text

from services.db.engine import Session
from tests.chaos.disks import full
from tests.chaos.fleet import ENDED, SMALL, Attempt, Fleet, Run, stopped
from tests.chaos.memory import cgroup, starve
from tests.cli.stacks import gone

PAUSE_SECONDS = 40.0


@dataclass(frozen=True)
class Fault:
    """A fault and its name."""

    name: str
    inflict: Callable[[Fleet, Run], None]

    @property
    def id(self) -> str:
        """The name of the function, which is also that of the dataset."""
        return self.inflict.__name__


FAULTS: list[Fault] = []


def fault(name: str) -> Callable[[Callable[[Fleet, Run], None]], Callable[[Fleet, Run], None]]:
    """Register a function that inflicts a fault."""

    def register(inflict: Callable[[Fleet, Run], None]) -> Callable[[Fleet, Run], None]:
        FAULTS.append(Fault(name, inflict))
        return inflict

    return register


def kill(process: psutil.Process) -> None:
    """End a process as the kernel does when memory ends, and see it gone."""
    process.kill()
    psutil.wait_procs([process], timeout=60)


@fault("SIGKILL of a stage's process")
def rank_killed(fleet: Fleet, run: Run) -> None:
    kill(run.running("finetune", 2).rank)


@fault("SIGKILL of the process that forks stages")
def zygote_killed(fleet: Fleet, run: Run) -> None:
    kill(run.running("train", 2).rank.parent())


@fault("SIGKILL of a worker")
def worker_killed(fleet: Fleet, run: Run) -> None:
    attempt = run.running("train", 3)
    rank = attempt.rank
    kill(attempt.worker)
    fleet.wait(lambda: gone(rank), "the end of the stage with its worker")


@fault("SIGTERM of a worker")
def worker_stopped(fleet: Fleet, run: Run) -> None:
    attempt = run.running("finetune", 2)
    attempt.worker.terminate()
    fleet.wait(lambda: gone(attempt.worker), "the end of the worker")
    assert run.attempts("finetune")[0] == ("failed", "preempted")


@fault("SIGKILL of the API and its housekeeping")
def api_killed(fleet: Fleet, run: Run) -> None:
    run.running("finetune")
    kill(fleet.part("api"))
    assert fleet.client.get("/health/live").status_code == 200  # it waits for the next process


@fault("SIGKILL of Postgres")
def postgres_killed(fleet: Fleet, run: Run) -> None:
    run.running("finetune", 2)
    kill(fleet.part("postgres"))


@fault("restart of Postgres")
def postgres_restarted(fleet: Fleet, run: Run) -> None:
    run.running("train", 2)
    server = fleet.part("postgres")
    server.send_signal(signal.SIGINT)
    fleet.wait(lambda: gone(server), "the end of Postgres")


@fault("pause of Postgres for 40 s")
def postgres_paused(fleet: Fleet, run: Run) -> None:
    run.running("finetune", 2)
    with stopped(fleet.part("postgres")):
        time.sleep(PAUSE_SECONDS)  # the length is the fault


@fault("SIGKILL of MLflow")
def mlflow_killed(fleet: Fleet, run: Run) -> None:
    run.running("finetune")
    kill(fleet.part("mlflow"))


@fault("SIGKILL of MLflow while it starts")
def mlflow_killed_while_starting(fleet: Fleet, run: Run) -> None:
    run.running("finetune")
    first = fleet.part("mlflow")
    kill(first)
    fleet.wait(lambda: fleet.find_part("mlflow") not in (None, first), "another MLflow")
    assert "mlflow" not in fleet.up.state.ready
    kill(fleet.part("mlflow"))


@fault("restart of Redis")
def redis_restarted(fleet: Fleet, run: Run) -> None:
    run.running("finetune")
    server = fleet.part("redis")
    server.terminate()
    fleet.wait(lambda: gone(server), "the end of Redis")


@fault("Redis loses everything")
def redis_flushed(fleet: Fleet, run: Run) -> None:
    with redis.Redis.from_url(fleet.up.state.addresses["redis"]) as client:
        client.flushall()
        run.running("finetune")
        client.flushall()


@fault("pause of Redis")
def redis_paused(fleet: Fleet, run: Run) -> None:
    run.running("finetune")
    with stopped(fleet.part("redis")):
        run.running("train")  # nothing waits for it: a free worker takes the next stage without a message


@fault("every message delivered many times")
def messages_doubled(fleet: Fleet, run: Run) -> None:
    for kind in ("finetune", "train"):
        run.running(kind)
        fleet.broker.ring({"cpu": 20, "gpu": 20})


@fault("frozen host wakes after its lease")
def host_frozen(fleet: Fleet, run: Run) -> None:
    attempt = run.running("train", 3)
    rank = attempt.rank
    with stopped(attempt.worker), stopped(rank):
        run.is_taken_over(attempt)
    fleet.wait(lambda: gone(rank), "the end of the attempt that lost its lease")


@fault("frozen worker, whose stage goes on, wakes after its lease")
def worker_frozen(fleet: Fleet, run: Run) -> None:
    attempt = run.running("finetune", 3)
    rank = attempt.rank
    with stopped(attempt.worker):
        run.is_taken_over(attempt)
    fleet.wait(lambda: gone(rank), "the end of the attempt that lost its lease")


@fault("frozen in mid-transaction, wakes after its lease")
def worker_frozen_in_transaction(fleet: Fleet, run: Run) -> None:
    attempt = run.running("train", 3)
    rank = attempt.rank
    freeze_in_transaction(fleet, attempt)
    with stopped(attempt.worker):
        fleet.begin("beside_the_frozen", **SMALL).finish()  # nobody else is held up
        run.is_taken_over(attempt)
    fleet.wait(lambda: gone(rank), "the end of the attempt that lost its lease")


def freeze_in_transaction(fleet: Fleet, attempt: Attempt) -> None:
    """Stop a worker between the statements of a heartbeat, while it holds the lock on its stage.

    The row of its attempt, which it writes next, is locked meanwhile, so that there is time to stop it.
    """
    lock = text("SELECT 1 FROM attempt WHERE stage_key = :key AND number = :number FOR UPDATE")
    waits = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE attempt SET log%' AND wait_event_type = 'Lock'"
    held = "SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND state = 'idle in transaction'"

    def frozen() -> bool:
        with fleet.database.transaction() as session:
            session.execute(lock, {"key": attempt.key, "number": attempt.number})
            fleet.wait(lambda: fleet.rows(waits), "a heartbeat that waits for us")
            (backend,) = fleet.rows(waits) or [None]
            attempt.worker.suspend()
        time.sleep(0.2)  # the server ends the statement, of which the worker does not hear
        if backend is not None and fleet.rows(held, pid=backend.pid):
            return True
        attempt.worker.resume()
        return False

    fleet.wait(frozen, "a worker that is frozen in mid-transaction")


@fault("work root full")
def work_disk_full(fleet: Fleet, run: Run) -> None:
    run.running("finetune", 2)
    with full(fleet.home / "work", fleet.writers()):
        fleet.wait(lambda: ("failed", "disk_full") in run.attempts("finetune"), "an attempt that finds no room")


@fault("artifact root full")
def artifact_disk_full(fleet: Fleet, run: Run) -> None:
    key = run.running("finetune", 2).key
    waits = "SELECT 1 FROM stage WHERE key = :key AND state = 'running' AND message LIKE 'waits: artifact store%'"
    with full(fleet.home / "artifacts", fleet.writers()):
        fleet.wait(lambda: fleet.rows(waits, key=key), "a stage that waits for room")


@fault("out of memory")
def memory_exhausted(fleet: Fleet, run: Run) -> None:
    with cgroup() as group:
        if group is not None:
            for pid in fleet.workers("alive"):
                starve(psutil.Process(pid), group)  # the kernel counts its kills by group
        key = run.running("finetune", 0).key
        fleet.wait(lambda: fleet.ranks(key), "the stage's process")
        for rank in fleet.ranks(key):
            starve(rank, group)
        fleet.wait(lambda: run.attempts("finetune")[0][0] == "failed", "the end of the attempt")
    allowed = ["out_of_memory"] if group is not None else ["out_of_memory", "internal"]
    assert run.attempts("finetune")[0][1] in allowed


@fault("poison stage: each of its attempts is killed")
def stage_poisoned(fleet: Fleet, run: Run) -> None:
    other, key = fleet.begin("beside_the_poison", **SMALL), run.key("finetune")
    while run.state not in ENDED:
        for rank in fleet.ranks(key):
            rank.kill()
        time.sleep(0.05)
    run.finish("failed")
    detail = fleet.client.get(f"/experiments/{run.id}").json()
    assert detail["cause"] == "worker_lost"
    assert detail["message"].startswith("finetune tiny rgb, split 1, seed 0: ")
    assert run.attempts("finetune") == [("failed", "worker_lost")] * 4
    other.finish()
    assert fleet.client.post(f"/experiments/{run.id}/retry").status_code == 202


@fault("bad host: every stage fails there")
def host_broken(fleet: Fleet, run: Run) -> None:
    work = fleet.home / "broken"
    work.write_text("no folder")
    bad = fleet.add_worker(TWOSTREAM_WORK_ROOT=str(work))
    others = [fleet.begin(f"beside_the_broken_{number}", **SMALL) for number in range(6)]
    fleet.wait(lambda: bad.pid in fleet.workers("draining"), "a worker that takes no more")
    listed = next(worker for worker in fleet.client.get("/workers").json() if worker["pid"] == bad.pid)
    assert "3 stages failed here in a row" in listed["message"] or "probe" in listed["message"]
    for other in others:
        other.finish()
    assert bad.pid in fleet.workers("draining")
    work.unlink()
    fleet.wait(lambda: bad.pid in fleet.workers("alive"), "a worker that is well again")
    fleet.stop_worker(bad)


@fault("the database's clock goes an hour forward")
def clock_set_forward(fleet: Fleet, run: Run) -> None:
    run.running("finetune", 2)
    step_clock(fleet, 3600)


@fault("the database's clock goes an hour back, and a worker dies")
def clock_set_back(fleet: Fleet, run: Run) -> None:
    attempt = run.running("train", 3)
    step_clock(fleet, -3600)
    kill(attempt.worker)


def step_clock(fleet: Fleet, seconds: float) -> None:
    """Make every time in the database so much older, which is what it is once the clock was set forward."""
    columns = fleet.rows(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'"
    )
    tables = sorted({row.table_name for row in columns})

    def step(session: Session) -> None:
        session.execute(text(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE"))
        for table in tables:
            changes = (
                f"{row.column_name} = {row.column_name} - make_interval(secs => :seconds)"
                for row in columns
                if row.table_name == table
            )
            session.execute(text(f"UPDATE {table} SET {', '.join(changes)}"), {"seconds": seconds})

    fleet.database.run(step)
