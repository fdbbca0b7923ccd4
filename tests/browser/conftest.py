"""A real API with experiments in every state, and the Chromium that the system has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from cli.stack import ports
from cli.stack.api import Api
from services.db.engine import Database
from services.db.tables import AttemptRow
from services.errors import Cause
from services.queue import attempts, workers
from services.queue.attempts import Fact
from services.queue.claim import Claim
from services.queue.curve import Recorder, Sample
from services.stores.folder import FolderStore
from tests.parts import START_SECONDS, running
from tests.services.conftest import Decreed
from tests.services.packed import packed
from tests.services.pictured import Leaver

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
SCRIPT = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
"""What somebody types into a field."""
CLASSES = ["Clap", "Jump", "Run", SCRIPT[:40], "Spin", "Walk", "Wave", "Yawn"]
SURVEY: dict[str, Any] = {
    "clips": 240,
    "classes": 8,
    "frames": 9600,
    "surplus": 0,
    "excluded": 0,
    "bytes": 51_000_000,
    "lists": "1" * 64,
    "digest": "2" * 64,
    "shared": [],
    "findings": [],
    "splits": {str(split): {"train": 160, "test": 80} for split in (1, 2, 3)},
    "class_clips": [[name, 30] for name in CLASSES],
    "sizes": [["64 x 64", 240]],
    "rates": [["25", 240]],
}
"""What the `index` stage found."""
MODEL = {"kind": "ts_lstm", "segments": 5}
SPEC: dict[str, Any] = {
    "recipe": "demo_ts_lstm",
    "splits": [1, 2],
    "training": {"epochs": 6},
    "fusion": {"method": "probabilities"},
}


expect.set_options(timeout=30_000)  # milliseconds, as the browser gives an action; 5,000 are few on a busy machine
ATTENDS: dict[str, Any] = {
    "splits": [1],
    "model": {"kind": "conv_alstm"},
    "evaluation": {"localization": {}},
    "seeds": [6],
}
"""What differs of an experiment whose network attends."""


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

    client: httpx.Client
    database: Database
    ids: dict[str, str]

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        return str(self.client.base_url).rstrip("/")

    def submit(self, **changes: Any) -> str:
        """Submit the spec of the demo with changes, and return the experiment's id."""
        answer = self.client.post("/experiments", json=SPEC | changes)
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["id"]
        return found


@pytest.fixture(scope="session")
def site(servers, tmp_path_factory, migrated_database, redis_server) -> Iterator[Site]:
    """A real API process, on a database of its own."""
    home = tmp_path_factory.mktemp("home")
    address = migrated_database()
    database = Database(address)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TWOSTREAM_")}
    given = {
        "TWOSTREAM_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "TWOSTREAM_REDIS_URL": redis_server,
        "TWOSTREAM_HOME": str(home),
        "TWOSTREAM_SWEEP_SECONDS": "3600",
    }
    with (
        ports.listen(ports.LOOPBACK, 0) as listener,
        running(Api(listener, clean | given, servers / "pages.log")),
        httpx.Client(base_url=ports.url_of(listener), timeout=START_SECONDS) as client,
    ):
        made = Site(client, database, {})
        _fill(made, home)
        yield made
    database.close()


MACHINE = {
    "cpu": 0.42,
    "cores": 16,
    "memory_bytes": 21 * 10**9,
    "memory_total_bytes": 64 * 10**9,
    "gpus": [{"name": "cuda:0", "busy": 0.87, "memory_bytes": 9 * 10**9, "memory_total_bytes": 24 * 10**9}],
}
"""What the worker's machine does."""


REGISTERED = {"name": "registered", "root": "/clips", "annotations": "/lists"}
CHECK: dict[str, Any] = {
    "revision": 1,
    "classes": 8,
    "clips": 240,
    "excluded": 0,
    "present": 239,
    "frames": 9560,
    "interlaced": 0,
    "turned": 0,
    "mirrored": 0,
    "decoder": "PyAV 14, FFmpeg 7.1",
    "counts": {"fps": {"25.00": 239}, "sizes": {"320x240": 239}, "codecs": {"mpeg4": 239}, "audio": {"none": 239}},
    "findings": {
        "deviations": None,
        "missing": {"count": 1, "first": ["Walk/v_Walk_g04_c01.avi"]},
        "miscounted": {"count": 1, "first": ["Yawn/v_Yawn_g02_c03.avi: declares 41, decodes 40"]},
        **{name: {"count": 0, "first": []} for name in ("leaks", "undecodable", "differing", "duplicates", "surplus")},
    },
}
"""What the doctor found in a dataset whose files are elsewhere."""


def _fill(site: Site, home: Path) -> None:
    """Have three experiments finish, one fail, one be cancelled, one leave pictures, and one run while others wait."""
    worker = Decreed(site.database, "worker-1")
    with site.database.transaction() as session:
        workers.report(session, "worker-1", queues=["cpu", "gpu"], devices=["cpu"], concurrency=1, use=MACHINE)
    site.client.post("/datasets", json=REGISTERED).raise_for_status()
    site.client.post("/datasets/registered/check", json=CHECK).raise_for_status()
    site.ids["finished"] = site.submit(name="TS-LSTM on shapes")
    worker.run_all(lambda claim: end(site.database, worker, claim))
    for number, name in enumerate(("other", "third"), 1):
        site.ids[name] = site.submit(name=f"TS-LSTM, width {16 * number}", model=MODEL | {"hidden": [16 * number]})
        worker.run_all(lambda claim, worse=number: end(site.database, worker, claim, worse))
    site.ids["failed"] = site.submit(name=f"breaks {SCRIPT}", seeds=[3], splits=[1], streams=["rgb"])
    _fail(site.database, worker)
    site.ids["cancelled"] = site.submit(name="given up", seeds=[4])
    site.client.post(f"/experiments/{site.ids['cancelled']}/cancel", json={})
    site.ids["pictured"] = site.submit(name="looks around", **ATTENDS)
    Leaver(site.database, FolderStore(home / "artifacts"), home / "left").run_all()
    site.ids["running"] = site.submit(name="under way", seeds=[5])
    claim = worker.claim_any()
    assert claim is not None
    done = Fact("progress", 0, {"done": 30, "total": 120, "unit": "steps", "message": "epoch 2/6"})
    with site.database.transaction() as session:
        attempts.record(session, claim.key, claim.attempt, [*learned(claim, 2), done])
        attempts.heartbeat(session, claim.key, claim.attempt, 30, usage=used(40))
        session.get_one(AttemptRow, (claim.key, claim.attempt)).gpus = 1


def used(seconds: int) -> attempts.Usage:
    """Return what a stage used in so many seconds."""
    recorder = Recorder()
    for second in range(seconds):
        wave = 0.5 + 0.4 * (-1) ** (second // 5)
        recorder.add(second, Sample(4 * wave, (1 + wave) * 1e9, wave, wave * 8e9))
    return attempts.Usage(cpu_seconds=2.0 * seconds, curves=recorder.kept())


def _fail(database: Database, worker: Decreed) -> None:
    claim = worker.claim_any()
    assert claim is not None
    with database.transaction() as session:
        message, log = f"weights of another shape {SCRIPT}", f"Traceback\n  in layer 3\nSizeError: {SCRIPT}\n"
        attempts.fail(session, claim.key, claim.attempt, cause=Cause.USER_ERROR, message=message, log=log)


def end(database: Database, worker: Decreed, claim: Claim, worse: int = 0) -> None:
    """End a stage well; one that trains has curves, one that fuses says what it took each clip for.

    ``worse`` tenths of the clips of most classes are taken for others beside those that are anyway.
    """
    if claim.kind in ("train", "finetune"):
        with database.transaction() as session:
            attempts.record(session, claim.key, claim.attempt, learned(claim, 6, worse))
    if claim.kind == "index":
        worker.succeed(claim, **SURVEY)
    else:
        worker.succeed(claim, **(_answers(claim, worse) if claim.kind == "fuse" else {}))


def learned(claim: Claim, epochs: int, worse: int = 0) -> list[Fact]:
    """Return the metrics of some epochs."""
    split = claim.params.get("split", 1) + worse
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


def _answers(claim: Claim, worse: int) -> dict[str, Any]:
    labels = [label for label in range(8) for _ in range(10)]
    results = []
    streams = list(claim.params["weights"])
    for shift, stream in enumerate([*streams, "two-stream"] if len(streams) > 1 else streams):
        errs = 4 - shift + worse
        said = [(label + 1) % 8 if (17 * at) % 10 < errs and label % 3 else label for at, label in enumerate(labels)]
        right = sum(label == each for label, each in zip(labels, said, strict=True))
        top1 = right / len(labels)
        metrics = {"top1": top1, "top5": 1.0, "mean_class": top1, "correct": right, "clips": len(labels)}
        ranks = [int(label != each) for label, each in zip(labels, said, strict=True)]
        answers = packed([number for pair in zip(said, ranks, strict=True) for number in pair])
        place = {"stream": stream, "split": claim.params["split"], "seed": claim.params["seed"]}
        results.append({**place, "metrics": metrics, "predictions": answers})
    return {"results": results, "truth": {"classes": CLASSES, "labels": packed(labels), "clips": "0" * 64}}
