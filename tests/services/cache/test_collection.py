"""What a collection takes and what it leaves, on a folder and on an object store."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.api_keys import LOCAL
from services.cache.collection import ADVISORY_LOCK
from services.cache.inventory import total_bytes
from services.db.locks import held
from services.db.tables import EventRow, OutboxRow, ResultRow, StageRow
from services.errors import Cause, Conflict
from services.journal import outbox
from services.planning import submission
from services.queue import experiments
from tests.services.cache.conftest import House, set_stages
from tests.services.conftest import publish, small_spec

OTHER_MODEL = {"model": {"kind": "mean_pooling"}}


def test_what_a_running_stage_needs_stays(house: House) -> None:
    running = house.submit(small_spec())
    assert house.run("train")[-1].startswith("train")
    [features] = house.entries("features")
    assert features.held is not None
    assert features.held.startswith("needed by ")
    assert features.experiments == (running,)
    files = house.stage_files()
    assert house.gc(0, ("index", "features", "models", "scores", "leftovers")).taken == ()
    assert house.stage_files() == files
    assert house.states(running)["extract"] == "succeeded"


def test_an_evicted_output_is_made_again_when_it_is_missed(house: House) -> None:
    first = house.submit(small_spec())
    house.run()
    done = house.gc(0)
    assert [entry.category for entry in done.taken] == ["features"]
    assert (done.before, done.after) == (160, 60)
    assert not any("extract" in path for path in house.stage_files())
    assert house.experiment(first).state == "succeeded"
    assert house.states(first) == {
        "index": "succeeded", "extract": "evicted", "train": "succeeded", "score": "succeeded", "fuse": "succeeded"
    }  # fmt: skip
    assert "made again" in str(house.row("extract").message)
    with house.database.transaction() as session:
        assert session.scalar(select(EventRow.type).where(EventRow.type == "stage.evicted"))

    second = house.submit(small_spec(**OTHER_MODEL))
    assert house.experiment(second).reused_stages == 1
    assert [label.split()[0] for label in house.run()] == ["extract", "train", "score", "fuse"]
    assert house.experiment(second).state == "succeeded"
    assert house.states(first)["extract"] == "succeeded"
    assert house.experiment(first).state == "succeeded"
    assert house.store.fetch(str(house.row("extract").output)).is_dir()


def test_what_is_evicted_and_not_missed_stays_so(house: House) -> None:
    house.submit(small_spec())
    house.run()
    house.gc(0)
    again = house.submit(small_spec())
    assert house.run() == []
    assert house.experiment(again).state == "succeeded"
    assert house.states(again)["extract"] == "evicted"
    with house.database.transaction() as session:
        assert session.scalars(select(ResultRow.id).where(ResultRow.experiment_id == again)).all() != []


def test_models_and_scores_go_only_when_they_are_named(house: House) -> None:
    first = house.submit(small_spec())
    house.run()
    done = house.gc(0, ("models", "scores"))
    assert [entry.category for entry in done.taken] == ["models", "scores", "scores"]
    assert house.experiment(first).state == "succeeded"
    again = house.submit(small_spec())
    assert [label.split()[0] for label in house.run()] == ["train", "score", "fuse"]
    assert house.experiment(again).state == "succeeded"


def test_a_retried_experiment_has_its_evicted_inputs_made_again(house: House) -> None:
    failed = house.submit(small_spec())
    while (claim := house.worker.claim_any()) is not None:
        if claim.kind == "train":
            house.worker.fail(claim, Cause.USER_ERROR)
        else:
            house.worker.make(claim)
    house.gc(0)
    assert house.states(failed)["extract"] == "evicted"
    with house.database.transaction() as session:
        experiments.retry(session, failed, LOCAL)
    assert [label.split()[0] for label in house.run()] == ["extract", "train", "score", "fuse"]
    assert house.experiment(failed).state == "succeeded"


def test_unused_for_longest_goes_first_and_no_more_than_must(house: House) -> None:
    for frames in (3, 5, 7):
        house.submit(small_spec(evaluation={"frames": frames}))
        house.run()
    order = [entry.key for entry in house.entries("features")]
    house.submit(small_spec(evaluation={"frames": 3}, **OTHER_MODEL))  # uses the oldest again
    house.run()
    total = total_bytes(house.collector.take_stock().entries)
    assert [entry.key for entry in house.gc(total).taken] == []
    assert [entry.key for entry in house.gc(total - 1).taken] == [order[1]]
    assert [entry.key for entry in house.gc(100, ("features",)).taken] == [order[2]]


def test_a_dry_run_says_the_same_and_touches_nothing(house: House) -> None:
    house.submit(small_spec())
    house.run()
    with house.database.transaction() as session:
        before = [(row.key, row.state, row.output) for row in session.scalars(select(StageRow).order_by(StageRow.key))]
    files = house.stage_files()
    dry = house.gc(0, dry_run=True)
    with house.database.transaction() as session:
        rows = session.scalars(select(StageRow).order_by(StageRow.key))
        assert [(row.key, row.state, row.output) for row in rows] == before
        assert session.scalar(select(EventRow.id).where(EventRow.type == "stage.evicted")) is None
    assert house.stage_files() == files
    assert house.gc(0) == dry


def test_of_two_collections_at_once_one_works(house: House) -> None:
    house.submit(small_spec())
    house.run()
    with held(house.database, ADVISORY_LOCK) as ours:
        assert ours
        with pytest.raises(Conflict, match="another collection"):
            house.gc(0)
        assert len(house.gc(0, dry_run=True).taken) == 1
    taken, refused, barrier = [], [], threading.Barrier(4)

    def collect() -> None:
        barrier.wait()
        try:
            taken.extend(house.collector_with().collect(0).taken)
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=collect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.category for entry in taken] == ["features"]
    assert len(refused) <= 3


def test_a_submission_that_comes_first_keeps_its_inputs(house: House) -> None:
    house.submit(small_spec())
    house.run()
    taken: list[Any] = []
    collecting = threading.Thread(target=lambda: taken.extend(house.gc(0).taken))
    with house.database.transaction() as session:
        submission.submit(session, small_spec(**OTHER_MODEL), owner="local", body_digest="0" * 64)
        collecting.start()  # sees the features unused, and waits for the row
        collecting.join(1)
        assert collecting.is_alive()
    collecting.join()
    assert taken == []
    assert [label.split()[0] for label in house.run()] == ["train", "score", "fuse"]


def test_a_submission_that_comes_second_has_its_inputs_made_again(house: House) -> None:
    house.submit(small_spec())
    house.run()

    def submit(_place: str) -> None:  # between the eviction's commit and the files' end
        house.submit(small_spec(**OTHER_MODEL))
        assert house.run("train")[0].startswith("extract")

    house.store.before_take = submit
    assert len(house.gc(0).taken) == 1
    assert house.store.fetch(str(house.row("extract").output)).is_dir()


def test_the_time_of_one_request_ends_between_two_entries(house: House) -> None:
    for frames in (3, 5):
        house.submit(small_spec(evaluation={"frames": frames}))
        house.run()
    first, second = house.gc(0, seconds=0), house.gc(0, seconds=0)
    assert (len(first.taken), first.more) == (1, True)
    assert (len(second.taken), second.more) == (1, False)


def test_a_store_that_fails_leaves_what_the_next_collection_finds(house: House) -> None:
    house.submit(small_spec())
    house.run()

    def fail(place: str) -> None:
        raise ConnectionError(place)

    house.store.before_take = fail
    with pytest.raises(ConnectionError):
        house.gc(0)
    house.store.before_take = lambda place: None
    assert house.row("extract").state == "evicted"
    assert house.gc(0).taken == ()  # young: somebody may just be writing it
    house.collector = house.collector_with(grace_seconds=0)
    assert [entry.category for entry in house.gc(0).taken] == ["leftovers"]
    assert not any("extract" in path for path in house.stage_files())


def test_checkpoints_go_with_age_and_are_not_looked_for_again(house: House, tmp_path: Any) -> None:
    failed = house.submit(small_spec())
    state = tmp_path / "state"
    state.mkdir()
    (state / "checkpoint.pt").write_bytes(b"x" * 9)
    house.run("train")
    train = house.row("train")
    publish(house.store, state, train.key, 1, "state")
    house.collector = house.collector_with(grace_seconds=0)
    [entry] = house.entries("leftovers")
    assert entry.held == "it is running"
    assert house.gc(0, ("leftovers",)).taken == ()
    with house.database.transaction() as session:
        experiments.cancel(session, failed, LOCAL)
    set_stages(house.database, StageRow.key == train.key, state="cancelled", worker_id=None)
    house.collector = house.collector_with(grace_seconds=3600)
    assert house.gc(0, ("leftovers",)).taken == ()
    house.collector = house.collector_with(grace_seconds=0)
    assert len(house.gc(0, ("leftovers",)).taken) == 1
    assert house.store.find(train.key, 1, "state") is None
    house.submit(small_spec())
    claim = house.worker.claim_any()
    assert claim is not None
    assert (claim.kind, claim.attempt, claim.state_dropped_at_attempt) == ("train", 2, 1)


def test_what_mlflow_waits_for_stays_while_there_is_an_mlflow(house: House) -> None:
    house.submit(small_spec())
    house.run()
    train = house.row("train")
    with house.database.transaction() as session:
        outbox.add_artifact(session, train.key, "train.bin", f"{train.output}/train.bin")
    house.collector = house.collector_with(tracked=True)
    assert house.gc(0, ("models",)).taken == ()
    house.collector = house.collector_with(tracked=False)
    assert len(house.gc(0, ("models",)).taken) == 1
    with house.database.transaction() as session:
        query = select(OutboxRow).where(OutboxRow.stage_key == train.key, OutboxRow.kind == "artifact")
        assert session.scalars(query).one().delivered_at is not None


KILLED = """
import os, shutil, sys
from pathlib import Path
from services.stores.folder import FolderStore
from services.cache.collection import Collector
from services.db.engine import Database
shutil.rmtree = lambda path, **_: Path(path).exists() and os.kill(os.getpid(), 9)
url, store, data = sys.argv[1:]
Collector(Database(url), FolderStore(Path(store)), Path(data), grace_seconds=0, tracked=False).collect(0)
"""


def test_a_collection_that_is_killed_leaves_no_half_of_an_output(local: House, database_url: str) -> None:
    local.submit(small_spec())
    local.run()
    place = Path(str(local.store.fetch(str(local.row("extract").output))))
    root = place.parents[4]
    trash = root / ".trash"
    arguments = (database_url, str(root), str(local.data))
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not place.exists()
    assert [path.name for path in trash.rglob("*.bin")] == ["extract.bin"]
    assert local.row("extract").state == "evicted"
    assert local.gc(10**9).taken == ()
    assert not trash.exists()
