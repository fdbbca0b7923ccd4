"""Many experiments that share their stages, clients that cancel and try again as they like, four workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random

import httpx
import pytest

from services.loops import Loop
from tests.chaos.checks import bits, files, strays, tracked
from tests.chaos.fleet import ENDED, PATIENCE_SECONDS, SMALL, Fleet, work
from tests.services.invariants import ALWAYS, AT_REST

pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.xdist_group("chaos"), pytest.mark.timeout(3600)]
SEED = 8
EXPERIMENTS, CLIENTS, WORKERS = 200, 8, 4
DATASETS = [f"storm_{number}" for number in range(3)]
SEEDS, WIDTHS = range(6), (8, 16)
LOOK_SECONDS = 0.2
SOON_SECONDS = 20.0
"""Many sweeps, on a machine that is busy: what must not last may be seen for a moment."""
IDS = "SELECT id, state FROM experiment WHERE dataset = ANY(:names)"
STAGES = """
    SELECT DISTINCT key, kind, stage.state, attempt, output, label, experiment.dataset, params,
        (SELECT count(*) FROM attempt WHERE stage_key = key AND attempt.state = 'succeeded') AS successes
    FROM stage JOIN experiment_stage ON stage_key = key JOIN experiment ON experiment.id = experiment_id
    WHERE experiment.dataset = ANY(:names)
"""
RESULTS = """
    SELECT experiment.id, experiment.state, count(result.id) AS results
    FROM experiment LEFT JOIN result ON result.experiment_id = experiment.id
    WHERE experiment.dataset = ANY(:names) GROUP BY experiment.id
"""


def wanted(random: Random) -> dict[str, object]:
    """Return an experiment that others are likely to share."""
    model = {"kind": "ts_lstm", "hidden": [random.choice(WIDTHS)]}
    changes = {"model": model, "seeds": [random.choice(SEEDS)], "priority": random.choice((10, 50, 90))}
    return work(random.choice(DATASETS), **SMALL | changes)


def storm(url: str, number: int) -> Counter[tuple[str, int]]:
    """Submit experiments, cancel them and try them again at random; return how often each request had which answer."""
    random, mine, answers = Random(f"{SEED} {number}"), [], Counter[tuple[str, int]]()
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:

        def post(what: str, path: str, body: object = None) -> httpx.Response:
            answer = client.post(path, json=body)
            answers[what, answer.status_code] += 1
            return answer

        for _ in range(EXPERIMENTS // CLIENTS):
            mine.append(post("submit", "/experiments", wanted(random)).json()["id"])
            while random.random() < 0.6:
                time.sleep(random.uniform(0, 2))  # the pace of the storm
                act = random.choice(("cancel", "cancel", "retry"))
                post(act, f"/experiments/{random.choice(mine)}/{act}")
    return answers


class Watch:
    """Looks at Postgres again and again for what must never be, and what must not last."""

    def __init__(self, fleet: Fleet) -> None:
        self.looks, self.broken = 0, list[str]()
        self._fleet = fleet
        self._since: dict[tuple[str, str], float] = {}

    def look(self) -> None:
        """Look once."""
        now = time.monotonic()
        with self._fleet.database.transaction() as session:
            never = {(name, key) for name, query in ALWAYS.items() for key in session.scalars(query)}
            seen = {(name, key) for name, query in AT_REST.items() for key in session.scalars(query)}
        self.broken += [f"{name}: {key}" for name, key in never]
        self._since = {which: self._since.get(which, now) for which in seen}
        lasting = [which for which, since in self._since.items() if now - since > SOON_SECONDS]
        self.broken += [f"{name} for {SOON_SECONDS:g} s: {key}" for name, key in lasting]
        self.looks += 1

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look as long as the block runs."""
        loop = Loop("watch", self.look, LOOK_SECONDS)
        loop.start()
        try:
            yield
        finally:
            loop.stop(PATIENCE_SECONDS)


def test_a_storm_breaks_no_invariant(fleet: Fleet, record_property: Callable[[str, object], None]) -> None:
    fleet.make_whole(WORKERS)
    for name in DATASETS:
        fleet.add_dataset(name)
    watch, began_at = Watch(fleet), time.monotonic()
    with watch.running():
        with ThreadPoolExecutor(CLIENTS) as clients:
            url = str(fleet.client.base_url)
            answers = sum(clients.map(lambda number: storm(url, number), range(CLIENTS)), Counter())
        fleet.wait(lambda: {row.state for row in fleet.rows(IDS, names=DATASETS)} <= set(ENDED), "the end of the storm")
    seconds = time.monotonic() - began_at
    print("storm:", f"{seconds:.0f} s, {watch.looks} looks", dict(answers))

    assert watch.broken == []
    assert watch.looks > 10
    assert {status for _, status in answers} <= {202, 200, 409}
    experiments = fleet.rows(RESULTS, names=DATASETS)
    states = Counter(row.state for row in experiments)
    assert states.total() == EXPERIMENTS
    assert states.keys() <= {"succeeded", "cancelled"}
    assert all(row.results == 3 for row in experiments if row.state == "succeeded")  # a seed, a split, the mean

    stages = fleet.rows(STAGES, names=DATASETS)
    assert {row.state for row in stages} <= {"succeeded", "cancelled"}
    assert all(row.successes == (row.state == "succeeded") for row in stages)
    done = [row for row in stages if row.state == "succeeded"]
    assert {place for row in done for place, _ in files(fleet, row.key)} == {"output"}
    told, heard = tracked(fleet, [*(row.id for row in experiments), *(row.key for row in stages)])
    assert (told - heard, heard - told) == ({}, {})
    found: dict[str, set[bytes]] = {}
    for row in done:
        for name, value in bits(fleet, row).items() if row.kind in ("train", "score") else ():
            found.setdefault(f"{row.params['model']} {name}", set()).add(value)
    assert len(found) > 20
    differing = [name for name, values in found.items() if len(values) > 1]
    lost, doubled = (told - heard).total(), (heard - told).total()
    name = f"storm: {EXPERIMENTS} experiments, {CLIENTS} clients, {WORKERS} workers"
    record_property("chaos", (name, f"{seconds:.0f} s", str(lost), str(doubled), "NO" if differing else "yes"))
    assert differing == []
    fleet.wait(lambda: not strays(fleet), "the end of every process of a stage")
