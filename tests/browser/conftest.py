"""A real API with experiments in every state, and the Chromium that the system has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from cli.stack import ports
from cli.stack.api import Api
from services.db.engine import Database
from services.db.migrate import upgrade
from services.errors import Cause
from services.queue import attempts, workers
from services.queue.attempts import Fact
from services.queue.claim import Claim
from tests.parts import running
from tests.services.conftest import Decreed
from tests.services.packed import packed

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
SCRIPT = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
"""What somebody types into a field."""
CLASSES = ["Clap", "Jump", "Run", SCRIPT[:40], "Spin", "Walk", "Wave", "Yawn"]
SPEC: dict[str, Any] = {
    "recipe": "demo_ts_lstm",
    "splits": [1, 2],
    "training": {"epochs": 6},
    "fusion": {"method": "probabilities"},
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser, which the Makefile installs where it can.

    It is closed before another module's tests come: while it is there, asyncio takes this thread for one with a loop.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here; hint: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Site:
    """Where pages are, and ids of experiments by what became of them."""

    url: str
    database: Database
    ids: dict[str, str]
    submit: Callable[..., str]


@pytest.fixture(scope="session")
def site(servers, tmp_path_factory, empty_database, redis_server) -> Iterator[Site]:
    """A real API process, on a database of its own."""
    address = empty_database()
    upgrade(address)
    database = Database(address)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
    given = {
        "TWOSTREAM_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "TWOSTREAM_REDIS_URL": redis_server,
        "TWOSTREAM_HOME": str(tmp_path_factory.mktemp("home")),
        "TWOSTREAM_SWEEP_SECONDS": "3600",
    }
    with ports.listen(ports.LOOPBACK, 0) as listener, running(Api(listener, clean | given, servers / "pages.log")):
        url = ports.url_of(listener)
        ids: dict[str, str] = {}
        made = Site(url, database, ids, lambda **changes: _submit(url, **changes))
        _fill(made)
        yield made
    database.close()


def _submit(url: str, **changes: Any) -> str:
    answer = httpx.post(f"{url}/experiments", json=SPEC | changes)
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    return found


def _fill(site: Site) -> None:
    """Have an experiment finish, one fail, one be cancelled, and one run while its other stages wait."""
    worker = Decreed(site.database, "worker-1")
    with site.database.transaction() as session:
        workers.report(session, "worker-1", queues=["cpu", "gpu"], devices=["cpu"], concurrency=1)
    site.ids["finished"] = site.submit(name="TS-LSTM on shapes")
    worker.run_all(lambda claim: end(site.database, worker, claim))
    site.ids["failed"] = site.submit(name=f"breaks {SCRIPT}", seeds=[3], splits=[1], streams=["rgb"])
    _fail(site.database, worker)
    site.ids["cancelled"] = site.submit(name="given up", seeds=[4])
    httpx.post(f"{site.url}/experiments/{site.ids['cancelled']}/cancel", json={})
    site.ids["running"] = site.submit(name="under way", seeds=[5])
    claim = worker.claim_any()
    assert claim is not None
    done = Fact("progress", 0, {"done": 30, "total": 120, "unit": "steps", "message": "epoch 2/6"})
    with site.database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, [*learned(claim, 2), done])


def _fail(database: Database, worker: Decreed) -> None:
    claim = worker.claim_any()
    assert claim is not None
    with database.transaction() as session:
        message, log = f"weights of another shape {SCRIPT}", f"Traceback\n  in layer 3\nSizeError: {SCRIPT}\n"
        attempts.fail(session, claim.key, claim.attempt, cause=Cause.USER_ERROR, message=message, log=log)


def end(database: Database, worker: Decreed, claim: Claim) -> None:
    """End a stage well; one that trains has curves, one that fuses says what it took each clip for."""
    if claim.kind in ("train", "finetune"):
        with database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, learned(claim, 6))
    worker.succeed(claim, **(_answers(claim) if claim.kind == "fuse" else {}))


def learned(claim: Claim, epochs: int) -> list[Fact]:
    """Return the metrics of some epochs."""
    split = claim.params.get("split", 1)
    return [
        Fact(
            "metrics",
            epoch,
            {
                "step": epoch,
                "values": {"train_loss": 2 / (epoch + split), "train_accuracy": 1 - 0.8 / (epoch + split)}
                | ({"validation_accuracy": 0.9 - 0.8 / (epoch + split)} if claim.kind == "train" else {}),
            },
        )
        for epoch in range(1, epochs + 1)
        if claim.kind in ("train", "finetune")
    ]


def _answers(claim: Claim) -> dict[str, Any]:
    labels = [label for label in range(8) for _ in range(10)]
    results = []
    for shift, stream in enumerate((*claim.params["weights"], "two-stream")):
        said = [
            (label + 1) % 8 if (17 * at) % 10 < 4 - shift and label % 3 else label for at, label in enumerate(labels)
        ]
        right = sum(label == each for label, each in zip(labels, said, strict=True))
        top1 = right / len(labels)
        metrics = {"top1": top1, "top5": 1.0, "mean_class": top1, "correct": right, "clips": len(labels)}
        ranks = [int(label != each) for label, each in zip(labels, said, strict=True)]
        answers = packed([number for pair in zip(said, ranks, strict=True) for number in pair])
        place = {"stream": stream, "split": claim.params["split"], "seed": claim.params["seed"]}
        results.append({**place, "metrics": metrics, "predictions": answers})
    return {"results": results, "truth": {"classes": CLASSES, "labels": packed(labels), "clips": "0" * 64}}
