"""How long do the pages take over 100,000 experiments and 100,000 results, and what do 50 who watch a run cost the API?

Each beside the floor of a request that does nothing. Usage: ``python -m benchmarks.pages [SECONDS [REQUESTS]]``.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx
from sqlalchemy import Engine

from benchmarks import board, compare, report
from benchmarks.stack import Stack, running
from services.db.engine import Database
from services.errors import Cause
from services.queue import attempts
from services.queue.attempts import Fact
from services.queue.claim import Claim, claim
from services.queue.curve import Recorder, Sample

RESULTS = EXPERIMENTS = 100_000
REQUESTS, WARM_UP = 200, 5
VIEWERS = 50
PROGRESS_SECONDS, EPOCH_SECONDS, PAUSE_SECONDS = 1.0, 5.0, 5.0
"""Between two words of progress, between two epochs, and at the least between two fetches by the script of a page."""
LEASE_SECONDS, BEAT_SECONDS = 3600.0, 10.0
"""Of a stage that runs by decree. The API is told of it: it would shorten a lease that is longer than its own, and end
a run half a minute after its last heartbeat."""
SETTLE_SECONDS = 10
"""After all have come, each of whom had a page made anew."""
MOST_LOST, RECONNECT_SECONDS = 100, 3.0
"""Connections that viewers lose before it is a fault; after so long a browser connects its stream again."""
NEWS = frozenset({"event: stage.metrics", "event: use"})
"""For which a page is made anew."""
HTML = {"Accept": "text/html"}
EVENTS = re.compile(r'data-events="([^"]*)"')
SPEC = {"recipe": "demo_ts_lstm", "training": {"epochs": 100}, "splits": [1], "streams": ["rgb"]}
"""Of a run that is watched: what of it can begin is one stage that trains."""
MANY = {"recipe": "demo_ts_lstm", "name": "many stages", "seeds": [*range(100, 120)]}
"""Of an experiment of some hundred stages, which wait."""
MORE = """
INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest, created_at)
SELECT 'exp_c' || n, 'run ' || n, 'user ' || n % 50, 'motion_shapes', '{"model": {"kind": "ts_lstm"}}',
       (ARRAY['succeeded', 'failed', 'cancelled'])[1 + n % 3], '', now() - n * interval '1 minute'
FROM generate_series(1, CAST(:experiments AS int)) AS n;
INSERT INTO experiment_stream (experiment_id, stream, protocol, model)
SELECT 'exp_c' || n, 'rgb', repeat('0', 64), (ARRAY['ts_lstm', 'tsn', 'lstm'])[1 + n % 3]
FROM generate_series(1, CAST(:experiments AS int)) AS n;
INSERT INTO stage (key, kind, params, label, queue, state, owner, timeout_seconds, output)
SELECT md5(n::text) || md5(n::text), (ARRAY['score', 'train', 'extract'])[1 + n % 3],
       '{"split": 1, "streams": ["rgb"]}',
       'stage ' || n, 'gpu', 'succeeded', 'bench', 1, 'x' FROM generate_series(1, CAST(:experiments AS int)) AS n;
INSERT INTO experiment_stage (experiment_id, stage_key, position)
SELECT 'exp_c' || n, md5(n::text) || md5(n::text), 0 FROM generate_series(1, CAST(:experiments AS int)) AS n;
INSERT INTO paper_row (experiment_id, paper, table_name, row, dataset, part, system)
SELECT 'exp_c' || n, 'ts_lstm', '3', 'TS3 BN Max+LSTM512 BN FC101', 'ucf101', 0, repeat('0', 64)
FROM generate_series(1, 1000) AS n
"""
PAGES = {
    "leaderboard": "/",
    "leaderboard, page of split 1": "/?dataset=motion_shapes&split=1&stream=rgb",
    "experiments": "/experiments",
    "experiments by name": "/experiments?name=run+99",
    "experiments by owner and network": "/experiments?owner=user+7&model=tsn",
    "experiments by state": "/experiments?state=failed",
    "experiment that runs": "/experiments/{running}",
    "experiment with many stages": "/experiments/{many}",
    "experiment with results": "/experiments/{finished}",
    "compare two": "/compare?left={finished}&right={other}",
    "compare three": "/compare?experiment={finished}&experiment={other}&experiment={third}",
    "datasets": "/datasets",
    "dataset": "/datasets/motion_shapes",
    "queue": "/queue",
    "workers": "/workers",
    "sweeps": "/sweeps",
    "papers": "/papers",
    "paper": "/papers/ts_lstm",
    "paper's table": "/papers/ts_lstm/tables/3",
    "recipes": "/recipes",
    "recipe": "/recipes/tsn_ucf101",
    "networks": "/models",
}


def fill(engine: Engine) -> None:
    """Write the results of experiments, and more experiments of which each has a stage."""
    board.systems(engine)
    experiments = RESULTS // board.PER_EXPERIMENT + 1
    board.fill(engine, 1, experiments)
    board.execute(engine, MORE, experiments=EXPERIMENTS - experiments)


def timed(stack: Stack, address: str, requests: int) -> tuple[list[float], float]:
    """Return the milliseconds of each request, and the processor time of the API for one."""
    spent = []
    before = 0.0
    for number in range(WARM_UP + requests):
        if number == WARM_UP:
            before = board.cpu_ms(stack)
        start = time.perf_counter()
        answer = stack.api.get(address, headers=HTML)
        if number >= WARM_UP:
            spent.append((time.perf_counter() - start) * 1000)
        assert answer.status_code == 200, answer.text
    return spent, (board.cpu_ms(stack) - before) / requests


class Run:
    """An experiment that trains by decree: it tells progress and epochs while a block lasts."""

    def __init__(self, stack: Stack, database: Database, seed: int) -> None:
        self.api, self.database = stack.api, database
        answer = stack.api.post("/experiments", json=SPEC | {"seeds": [seed], "name": f"watched {seed}"})
        self.id: str = answer.raise_for_status().json()["id"]
        self.claim = self._train()
        self.epoch = 0

    def _train(self) -> Claim:
        """End stages until one of its own trains, and return that."""
        own = {stage["key"] for stage in self.api.get(f"/experiments/{self.id}/stages").raise_for_status().json()}
        while True:
            with self.database.transaction() as session:
                found = claim(session, ("cpu", "gpu"), worker_id="bench", device="cpu", lease_seconds=LEASE_SECONDS)
                assert found is not None
                if found.kind in ("train", "finetune"):
                    assert found.key in own, "another experiment's stage: each that is watched has one that can begin"
                    return found
                attempts.succeed(session, found.key, found.attempt, summary={}, output="x", log="")

    def tell(self, over: threading.Event) -> None:
        """Say how far it is once a second, end an epoch every five, and say what it uses every ten, as workers do."""
        recorder = Recorder()
        for second in itertools.count():
            if over.wait(PROGRESS_SECONDS):
                return
            facts = [Fact("progress", second, {"done": second, "total": 500, "unit": "steps", "message": ""})]
            if second % (EPOCH_SECONDS / PROGRESS_SECONDS) == 0:
                self.epoch += 1
                values = {"train_loss": 1 / self.epoch, "train_accuracy": 1 - 1 / (1 + self.epoch)}
                facts.append(Fact("metrics", second, {"step": self.epoch, "values": values}))
            with self.database.transaction() as session:
                attempts.record(session, self.claim.key, self.claim.attempt, facts)
            recorder.add(second, Sample(2 + second % 3, 1e9 + 1e6 * second, 0.9, 8e9))
            if second % (BEAT_SECONDS / PROGRESS_SECONDS) == 0:
                usage = attempts.Usage(cpu_seconds=2.0 * second, curves=recorder.kept())
                with self.database.transaction() as session:
                    attempts.heartbeat(session, self.claim.key, self.claim.attempt, LEASE_SECONDS, usage=usage)

    def end(self) -> None:
        """End it, so that nothing of it waits."""
        with self.database.transaction() as session:
            attempts.fail(session, self.claim.key, self.claim.attempt, cause=Cause.USER_ERROR, message="", log="")


@dataclass
class Sent:
    """What was sent to viewers since all of them were there; and how often a connection was lost."""

    events: int = 0
    pages: int = 0
    lost: int = 0

    def lose(self) -> None:
        """Note a connection that was lost; one that a browser would make again is no fault."""
        self.lost += 1
        assert self.lost < MOST_LOST, "the API is away"


class Viewer:
    """What the script of a page does in a browser.

    A browser asks once more where a kept connection is closed as it asks, and connects a stream again: so does this.
    """

    def __init__(
        self, client: httpx.AsyncClient, id_: str, sent: Sent, there: asyncio.Event, over: threading.Event
    ) -> None:
        self.client, self.path, self.sent, self.there, self.over = client, f"/experiments/{id_}", sent, there, over
        self.heard, self.pause, self.last = "0", PAUSE_SECONDS, 0.0
        self.fetching: asyncio.Task[httpx.Response] | None = None

    async def run(self, come: Callable[[], None]) -> None:
        """Watch until it is over."""
        found = EVENTS.search((await self.fetch(HTML)).text)
        assert found is not None
        while not self.over.is_set():
            try:
                headers = {"Last-Event-ID": self.heard}
                async with self.client.stream("GET", found[1], headers=headers, timeout=None) as told:
                    told.raise_for_status()
                    come()
                    await self.hear(told)
            except httpx.TransportError:
                self.sent.lose()
                await asyncio.sleep(RECONNECT_SECONDS)
        if self.fetching is not None:
            await self.fetching

    async def hear(self, told: httpx.Response) -> None:
        """Read a stream, and have the page made anew when there is news."""
        async for line in told.aiter_lines():
            if self.over.is_set():
                return
            if line.startswith("id: "):
                self.heard = line.removeprefix("id: ")
            self.sent.events += line.startswith("event: ") and self.there.is_set()
            if self.fetching is not None and self.fetching.done():
                self.pause, self.fetching = float(self.fetching.result().headers["twostream-pause"]), None
            if line in NEWS and self.fetching is None and time.monotonic() - self.last > self.pause:
                self.last = time.monotonic()
                self.fetching = asyncio.create_task(self.fetch(HTML | {"Twostream-Watched": self.heard}))

    async def fetch(self, headers: Mapping[str, str]) -> httpx.Response:
        """Return the page."""
        while True:
            try:
                answer = (await self.client.get(self.path, headers=headers)).raise_for_status()
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                self.sent.lose()
            else:
                self.sent.pages += self.there.is_set()
                return answer


async def watch(url: str, ids: Sequence[str], all_there: threading.Event, over: threading.Event) -> Sent:
    """Watch experiments, a viewer for each id, until it is over; ``all_there`` is set when all have come."""
    sent, there, missing = Sent(), asyncio.Event(), set(range(len(ids)))

    def come(number: int) -> None:
        missing.discard(number)
        if not missing:
            there.set()
            all_there.set()

    limits = httpx.Limits(max_connections=2 * len(ids))
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60, trust_env=False) as client:
        viewers = [Viewer(client, id_, sent, there, over) for id_ in ids]
        await asyncio.gather(*(viewer.run(partial(come, number)) for number, viewer in enumerate(viewers)))
    return sent


def core_share(stack: Stack, seconds: float) -> float:
    """Return the share of a core that the API takes."""
    before, began = board.cpu_ms(stack), time.perf_counter()
    time.sleep(seconds)
    return (board.cpu_ms(stack) - before) / 1000 / (time.perf_counter() - began)


def viewers(stack: Stack, runs: list[Run], seconds: float) -> None:
    """Print what 50 viewers of some runs cost the API, over what it takes while the same runs go on unseen."""
    over = threading.Event()
    url = str(stack.api.base_url)
    ids = [runs[number % len(runs)].id for number in range(VIEWERS)]
    with ThreadPoolExecutor(len(runs) + 1) as pool:
        telling = [pool.submit(run.tell, over) for run in runs]
        try:
            unseen = core_share(stack, seconds / 2)
            all_there = threading.Event()
            watching = pool.submit(asyncio.run, watch(url, ids, all_there, over))
            assert all_there.wait(120)
            time.sleep(SETTLE_SECONDS)
            seen = core_share(stack, seconds)
        finally:
            over.set()
        sent = watching.result()
        for each in telling:
            each.result()  # one that broke off told less
    words = f"{VIEWERS} watch {len(runs)} run{'s' if len(runs) > 1 else ''}"
    print(
        f"{words}: API {100 * (seen - unseen):.1f} % of a core ({100 * seen:.1f} % less {100 * unseen:.1f} % unseen), "
        f"{sent.events} events and {sent.pages} pages sent in {seconds + SETTLE_SECONDS:.0f} s, "
        f"connections lost: {sent.lost}  goal <= 5 %",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    """Print the figures."""
    seconds = float(arguments[0]) if arguments else 30.0
    requests = int(arguments[1]) if len(arguments) > 1 else REQUESTS
    print(report.machine())
    os.environ["TWOSTREAM_EVENT_STREAMS_PER_CLIENT"] = str(2 * VIEWERS)  # all watch from here
    os.environ["TWOSTREAM_LEASE_SECONDS"] = str(LEASE_SECONDS)
    with running("--no-worker", parts=frozenset({"api"})) as stack:
        database = Database(stack.database_url, patience_seconds=300)  # no request writes that much
        run = Run(stack, database, 1)
        viewers(stack, [run], seconds)
        more = [run, *(Run(stack, database, seed) for seed in range(2, 11))]
        viewers(stack, more, seconds)
        floor, cost = timed(stack, "/health/live", requests)
        report.line("GET /health/live (floor)", floor)
        print(f"  processor time of the API: {cost:.2f} ms a request", flush=True)
        fill(database.engine)
        finished = compare.fill(database, grouped=True)
        many = stack.api.post("/experiments", json=MANY).raise_for_status().json()["id"]
        ids = {"running": run.id, "many": many, **dict(zip(("finished", "other", "third"), finished, strict=False))}
        for name, address in PAGES.items():
            found, spent = timed(stack, address.format(**ids), requests)
            report.line(name, found, floor, "goal p99 <= 100 ms")
            print(f"  processor time of the API: {spent:.1f} ms, {spent / cost:.1f} x floor", flush=True)
        print(f"floor again: p50 {statistics.median(timed(stack, '/health/live', requests)[0]):.2f} ms", flush=True)
        for each in more:
            each.end()
        database.close()


if __name__ == "__main__":
    main(sys.argv[1:])
