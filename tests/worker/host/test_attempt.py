"""An attempt whose artifact store is away at its beginning, or does not take its output at its end."""

from __future__ import annotations

import errno
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from sqlalchemy import select

from services import registry
from services.api_keys import LOCAL
from services.db.engine import Database
from services.db.tables import AttemptRow, EventRow, StageRow
from services.errors import Cause, Denied, LeaseLost
from services.queue import attempts, experiments
from services.queue.claim import Claim
from services.settings import Settings
from services.stores.artifacts import ArtifactStore
from services.stores.folder import FolderStore
from services.stores.objects import ObjectStore
from tests.services.conftest import Away, Decreed, small_spec, submit
from worker.contract import Task
from worker.host.attempt import Attempt, WorkerContext
from worker.host.devices import Grant
from worker.host.endings import Ending
from worker.host.forkserver import Child, StartFailed
from worker.host.heartbeat import Heartbeat


class Held:
    """An attempt at a claimed stage, held at the step that is tried."""

    def __init__(
        self, database: Database, claim: Claim, store: ArtifactStore, folder: Path, forkservers: Any = None
    ) -> None:
        self.key, self.database, self.stopping = claim.key, database, threading.Event()
        worker = WorkerContext(
            id="held",
            settings=Settings(home=folder),
            database=database,
            broker=cast("Any", None),
            store=store,
            forkservers=forkservers,
            threads=1,
            stopping=self.stopping,
        )
        self.attempt = Attempt(worker, claim, Grant("cpu"), pause_seconds=0.01)
        self.heart = Heartbeat(self.attempt, every_seconds=5, lease_seconds=30)

    def stage(self) -> StageRow:
        with self.database.transaction() as session:
            return session.get_one(StageRow, self.key)


class Stuck(Held):
    """A stage that has succeeded, and a store in whose place lies a file, unless another is given."""

    def __init__(
        self, database: Database, folder: Path, store: ArtifactStore | None = None, forkservers: Any = None
    ) -> None:
        self.experiment = submit(database, small_spec()).row.id
        claim = Decreed(database).claim("cpu")
        assert claim is not None
        (folder / "taken").touch()
        super().__init__(database, claim, store or FolderStore(folder / "taken" / "store"), folder, forkservers)

    def finish(self) -> dict[str, int]:
        return self.attempt._finish(Ending("succeeded", summary={}), self.heart)


class Waiting(Held):
    """A stage with an input, which lies in a store beyond a network that is away for its first calls."""

    def __init__(self, database: Database, folder: Path, calls: int, *, lost: bool = False) -> None:
        submit(database, small_spec())
        worker = Decreed(database)
        index = worker.claim("cpu")
        assert index is not None
        worker.succeed(index)
        claim = worker.claim("gpu")
        assert claim is not None
        store = ObjectStore("memory://twostream", folder / "cache")
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        if not lost:
            memory.pipe(f"/twostream/{claim.inputs[0].output}/index.json", b"{}")
        super().__init__(database, claim, store, folder)
        self.away = Away(store, calls)

    def begin(self) -> Task | Ending:
        return self.attempt._prepare_patiently(self.heart)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    with database.transaction() as session:
        registry.add_generated(session)
    yield database
    database.close()


def test_a_store_that_is_away_is_waited_for(database: Database, tmp_path: Path) -> None:
    found = Waiting(database, tmp_path, calls=3)
    task = found.begin()
    assert isinstance(task, Task)
    assert (task.inputs[0].path / "index.json").read_bytes() == b"{}"
    assert found.away.calls == 0
    with database.transaction() as session:
        told = session.scalars(select(EventRow.data).where(EventRow.type == "stage.warning").order_by(EventRow.id))
        assert [data["message"].partition(" at ")[0] for data in told] == ["waits: artifact store", "goes on"]
    assert found.stage().message == "goes on"


def test_who_waits_for_a_store_hears_a_cancel_and_a_shutdown(database: Database, tmp_path: Path) -> None:
    found = Waiting(database, tmp_path, calls=999)
    found.heart.cancel_requested.set()
    ending = found.begin()
    assert isinstance(ending, Ending)
    assert (ending.status, ending.cause) == ("cancelled", Cause.CANCELLED)
    found.heart.cancel_requested.clear()
    found.stopping.set()
    ending = found.begin()
    assert isinstance(ending, Ending)
    assert (ending.status, ending.cause) == ("preempted", Cause.PREEMPTED)
    found.heart.lost.set()
    with pytest.raises(LeaseLost):
        found.begin()


def test_what_a_store_does_not_have_is_not_waited_for(database: Database, tmp_path: Path) -> None:
    found = Waiting(database, tmp_path, calls=0, lost=True)
    found.stopping.set()  # who waits hears it, and would end otherwise
    with pytest.raises(Denied, match=r"artifact store at memory://twostream: stages/"):
        found.begin()


def test_a_work_root_without_room_is_waited_for_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Waiting(database, tmp_path, calls=0)
    prepare, faults = found.attempt._prepare, [OSError(errno.ENOSPC, "No space left on device", str(tmp_path))] * 3

    def full() -> Task:
        if faults:
            raise faults.pop()
        return prepare()

    monkeypatch.setattr(found.attempt, "_prepare", full)
    assert isinstance(found.begin(), Task)
    with database.transaction() as session:
        told = session.scalars(select(EventRow.data).where(EventRow.type == "stage.warning").order_by(EventRow.id))
        first, last = [data["message"] for data in told]
    assert first.startswith(f"waits: work root {tmp_path / 'work'}: ")
    assert last == "goes on"


def test_a_success_that_cannot_be_written_is_a_failure_that_says_so(database: Database, tmp_path: Path) -> None:
    class Refusing(FolderStore):
        def add(self, *_: object) -> str:
            raise ZeroDivisionError("a newer check refuses it")

    found = Stuck(database, tmp_path, Refusing(tmp_path / "store"))
    assert found.finish() == {"cpu": 1}
    with found.database.transaction() as session:
        row = session.get_one(AttemptRow, (found.key, 1))
    assert (row.state, row.cause) == ("failed", "internal")
    assert "its success cannot be written: ZeroDivisionError: a newer check refuses it" in str(row.message)


def test_an_attempt_that_breaks_is_given_back_at_once(database: Database, tmp_path: Path) -> None:
    class Threadless:
        def run(self, *_: object) -> Child:
            raise RuntimeError("can't start new thread")

    found = Stuck(database, tmp_path, forkservers=Threadless())
    assert found.attempt.run() == {"cpu": 1}
    assert found.attempt.ending is not None
    assert found.attempt.ending.cause is Cause.INTERNAL
    with database.transaction() as session:
        (row,) = session.scalars(select(AttemptRow))
    assert (row.state, row.cause, row.message) == (
        "failed", "internal", "attempt: RuntimeError: can't start new thread",
    )  # fmt: skip


def test_what_a_stage_leaves_among_temporary_files_goes_with_its_attempt(database: Database, tmp_path: Path) -> None:
    """Such as the sockets of loader processes, where the stage's process is killed."""
    given: list[Path] = []

    class Leaving:
        def run(self, *arguments: Any) -> Child:
            given.append(Path(arguments[3]["TMPDIR"]))
            (given[0] / "pymp-left").mkdir()
            (given[0] / "pymp-left" / "listener").touch()
            raise StartFailed("it was killed")

    found = Stuck(database, tmp_path, forkservers=Leaving())
    assert found.attempt.run() == {"cpu": 1}
    assert given[0].parent == Path(tempfile.gettempdir())
    assert not given[0].exists()


@pytest.fixture
def stuck(database: Database, tmp_path: Path) -> Callable[[], Stuck]:
    return lambda: Stuck(database, tmp_path)


def test_a_stage_that_waits_for_the_store_can_be_cancelled(stuck: Callable[[], Stuck]) -> None:
    found = stuck()
    with found.database.transaction() as session:
        experiments.cancel(session, found.experiment, LOCAL)
    found.heart.cancel_requested.set()
    assert found.finish() == {}
    assert found.stage().state == "cancelled"


def test_a_worker_that_shuts_down_waits_for_no_store(stuck: Callable[[], Stuck]) -> None:
    found = stuck()
    found.stopping.set()
    assert found.finish() == {"cpu": 1}
    assert (found.stage().state, found.stage().attempt) == ("ready", 1)


def test_the_kept_end_of_a_log_says_what_came_before_it(database: Database, tmp_path: Path) -> None:
    found = Waiting(database, tmp_path, calls=0)
    log = found.attempt._log
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"short\n")
    assert found.attempt._log_tail() == "short\n"
    log.write_bytes(b"x" * attempts.LOG_BYTES + b"the end\n")
    found.attempt.heartbeat()
    with database.transaction() as session:
        (kept,) = [log for log in session.scalars(select(AttemptRow.log)) if log and log.endswith("the end\n")]
    note, _, end = kept.partition("\n")
    left_out = attempts.LOG_BYTES + 8 - len(end)
    assert (note, end[-9:]) == (f"[{left_out} bytes before this are left out]", "xthe end\n")


def test_what_an_attempt_took_is_kept_with_it(database: Database, tmp_path: Path) -> None:
    found = Stuck(database, tmp_path, FolderStore(tmp_path / "store"))
    output = found.attempt._output
    output.mkdir(parents=True)
    (output / "model.pt").write_bytes(b"12345")
    found.attempt._finish(Ending("succeeded", summary={}, memory_bytes=3_000_000_000, gpu_memory_bytes=7), found.heart)
    with database.transaction() as session:
        row = session.get_one(AttemptRow, (found.key, 1))
        assert (row.memory_bytes, row.gpu_memory_bytes, row.disk_bytes) == (3_000_000_000, 7, 5)
