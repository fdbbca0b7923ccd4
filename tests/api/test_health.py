"""Live while the process runs; ready while Postgres and Redis answer."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from api.app import THREADS
from services import chores
from services.db.engine import Database
from services.queue.housekeeping import SWEEP
from services.stores.broker import Broker
from tests.databases import waiters


def test_live_and_ready(shared):
    assert shared.get("/health/live").json() == {"status": "ok"}
    answer = shared.get("/health/ready").json()
    assert answer["status"] == "ok"
    assert answer["sweep_age_seconds"] is None or answer["sweep_age_seconds"] >= 0


@pytest.mark.parametrize("server", ["Postgres", "Redis"])
def test_ready_names_the_server_that_is_away(client, server, monkeypatch, port):
    name, store = {
        "Postgres": ("probe", Database(f"postgresql+psycopg://someone:secret@127.0.0.1:{port}/none")),
        "Redis": ("broker", Broker(f"redis://:secret@127.0.0.1:{port}/0")),
    }[server]
    with closing(store), monkeypatch.context() as patch:
        patch.setattr(client.app.state, "backend", dataclasses.replace(client.app.state.backend, **{name: store}))
        answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert f"{server} at " in answer.json()["detail"]
    assert f"127.0.0.1:{port}" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert client.get("/health/live").status_code == 200


def test_a_fleet_that_nobody_sweeps_is_not_ready(client, database):
    backend = client.app.state.backend
    limit = 10 * backend.settings.sweep_seconds
    database.run(lambda session: chores.done(session, SWEEP))
    assert client.get("/health/ready").status_code == 200
    with database.transaction() as session:
        session.execute(text(f"UPDATE chore SET succeeded_at = now() - interval '{limit + 60} s'"))
    assert client.get("/health/ready").status_code == 200, "this process has not had its time yet"
    client.app.state.backend = dataclasses.replace(backend, started_at=time.monotonic() - limit - 60)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("housekeeping: last swept 360")
    database.run(lambda session: chores.done(session, SWEEP))
    assert client.get("/health/ready").status_code == 200


def test_metrics_tell_of_the_fleet(client, database, submit):
    submit()
    database.run(lambda session: chores.done(session, SWEEP))
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples["twostream_experiments", "queued"] == 1
    assert samples["twostream_stages", "cpu", "ready"] == 1
    assert samples["twostream_stages", "gpu", "waiting"] == 3
    assert samples["twostream_outbox_rows",] == 1
    assert 0 <= samples["twostream_sweep_age_seconds",] < 3600


def test_a_database_that_hangs_holds_up_neither_probes_nor_requests_without_it(client, database, database_url):
    """Every thread of the API waits for a lock, others queue behind them, and what needs no database answers."""
    with (
        closing(Database(database_url)) as rival,
        ThreadPoolExecutor(THREADS + 8) as threads,
        rival.transaction() as holder,
    ):
        holder.execute(text("LOCK TABLE experiment IN ACCESS EXCLUSIVE MODE"))
        hanging = [threads.submit(client.get, "/experiments") for _ in range(THREADS + 8)]
        deadline = time.monotonic() + 60
        while waiters(rival) < THREADS // 2 and not any(answer.done() for answer in hanging):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for path in (
            "/models",
            "/recipes",
            "/recipes/demo_ts_lstm",
            "/health/live",
            "/health/ready",
            "/static/style.css",
        ):
            assert client.get(path).status_code == 200, path
            assert not all(answer.done() for answer in hanging), f"{path} was answered after the others"
    assert {answer.result().status_code for answer in hanging} <= {200, 503}


def test_a_probe_of_a_database_that_hangs_ends(client, database):
    with client.app.state.backend.probe.transaction() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    with database.transaction() as session:
        postmaster = psutil.Process(pid).parent()
        held = [postmaster, *postmaster.children()]
        for process in held:
            process.suspend()
    try:
        answer = client.get("/health/ready")
    finally:
        for process in held:
            process.resume()
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("Postgres ")
