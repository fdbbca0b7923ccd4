"""Flow whose host is lost in mid-stage: another, which shares nothing but the store with it, goes on from there."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sqlalchemy import select

from cli.stack.process import Process
from services.db.tables import StageRow
from services.queue import experiments
from services.settings import Settings
from services.stages import FlowParams
from services.stores.artifacts import ArtifactStore, open_store
from services.stores.folder import FolderStore
from tests.system.conftest import LEASE_SECONDS, PATIENCE_SECONDS, Service, kill, rank_process, spec, training
from worker.contract import Reporter, StageInput, Task
from worker.stages import flow
from worker.video.generated.motion_shapes import write_avi

pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(600)]
DATASET, CLASSES, GROUPS = "sliding", ("Left", "Right"), range(1, 26)
NUM_CLIPS = len(CLASSES) * len(GROUPS)
FRAMES, HEIGHT, WIDTH = 4, 48, 64  # TV-L1 needs a third of a second a clip: all take far longer than a look


@pytest.fixture
def dataset(service: Service, tmp_path: Path) -> str:
    """Clips of a moving texture, in a folder that every host sees."""
    root, lists = tmp_path / "clips", tmp_path / "lists"
    lists.mkdir()
    lines: dict[str, list[str]] = {"classInd": [], "trainlist01": [], "testlist01": []}
    for number, name in enumerate(CLASSES, start=1):
        lines["classInd"].append(f"{number} {name}")
        for group in GROUPS:
            path = f"{name}/v_{name}_g{group:02}_c01.avi"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            write_avi(root / path, sliding((-1) ** number * group))
            lines["testlist01" if group == GROUPS[-1] else "trainlist01"].append(path)
    for file, content in lines.items():
        (lists / f"{file}.txt").write_text("".join(f"{line}\n" for line in content))
    service.add_dataset(DATASET, layout="ucf101", root=str(root), annotations=str(lists))
    return DATASET


def sliding(speed: int) -> np.ndarray:
    """Return uint8 (T, H, W, 3), a texture that moves so many pixels a frame."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    places = across[None] - speed * np.arange(FRAMES)[:, None, None]
    grey = 127 + 40 * (np.sin(places / 2.5) + np.sin(down / 3.1) + np.sin((places + down) / 4.3))
    return np.rint(grey).astype(np.uint8)[..., None].repeat(3, axis=-1)


def wanted(dataset: str) -> Any:
    return spec(
        dataset=dataset,
        streams=["flow"],
        backbone={"name": "tiny", "finetune": None},
        flow={"algorithm": "tvl1", "stack": 2, "shards": 1},
        training=training(1),
        evaluation={"frames": 3},
    )


def flow_row(service: Service, experiment_id: str) -> StageRow:
    with service.database.transaction() as session:
        (row,) = [view.row for view in experiments.stages(session, experiment_id) if view.row.kind == "flow"]
    return row


def undisturbed(index: Path, row: StageRow, folder: Path) -> dict[str, bytes]:
    """Return the files that the stage has when nothing happens to it."""
    for name in ("output", "state"):
        (folder / name).mkdir(parents=True)
    task = Task(
        key=row.key,
        kind="flow",
        attempt=1,
        params=row.params,
        inputs=(StageInput(name="index", kind="index", key="i", path=index),),
        output=folder / "output",
        state=folder / "state",
        events=folder / "events",
        result=folder / "result",
        data_root=folder / "data",
    )
    with closing(Reporter(task.events)) as report:
        flow.run(task, FlowParams.model_validate(row.params), report)
    return contents(task.output)


def wait_for_clips(service: Service, home: Path, key: str) -> None:
    """Wait until the first attempt has begun its fourth clip."""
    state = home / "work" / "stages" / key[:2] / key / "1" / "state"
    service.wait_for(lambda: len(inodes(state)) >= 3, "the third clip")


def wait_for_publication(service: Service, store: ArtifactStore, key: str) -> None:
    """Wait until the first attempt has clips in the store."""
    service.wait_for(lambda: len(store.published(key, "state").get(1, [])) >= 2, "the publication of two clips")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inodes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in folder.rglob("*.npy")}


def start(
    service: Service, host: Path, checkpoint_seconds: float, artifacts: str | None = None, **more: str
) -> Process:
    """Start a worker that shares nothing with others but the artifact store, and computes one clip at a time."""
    environment = more | {
        "TWOSTREAM_WORK_ROOT": str(host / "work"),
        "TWOSTREAM_DATA_ROOT": str(host / "data"),
        "TWOSTREAM_CHECKPOINT_SECONDS": str(checkpoint_seconds),
        "TWOSTREAM_ARTIFACT_ROOT": artifacts or service.settings.artifacts,
    }
    return service.start_worker(environment, concurrency=os.cpu_count())


@pytest.mark.long
@pytest.mark.parametrize("store_root", ["folder", "s3"], indirect=True)
def test_a_host_that_is_lost_costs_no_clip_that_was_published(
    service: Service, dataset: str, store_root: str, tmp_path: Path
) -> None:
    store = open_store(Settings(artifact_root=store_root, work_root=tmp_path))
    lost = start(service, tmp_path / "lost", 0, store_root)
    experiment_id = service.submit(wanted(dataset))
    key = flow_row(service, experiment_id).key
    wait_for_clips(service, tmp_path / "lost", key)
    rank = rank_process(lost)
    rank.suspend()  # else it would be done before its clips are in the store
    wait_for_publication(service, store, key)
    kill(lost.pid)
    service.wait_for(lambda: not psutil.pid_exists(rank.pid), "the end of the stage's process")
    shutil.rmtree(tmp_path / "lost")
    published = store.published(key, "state")[1]
    assert 2 <= len(published) < NUM_CLIPS
    files = inodes(tmp_path / "store" / "stages" / key[:2] / key / "1" / "state")

    start(service, tmp_path / "other", 0, store_root)
    service.finish(experiment_id)
    assert service.attempts("flow") == [("failed", "worker_lost"), ("succeeded", None)]
    row = flow_row(service, experiment_id)
    assert row.summary is not None
    counts = {name: row.summary[name] for name in ("clips", "computed", "found_finished")}
    assert counts == {
        "clips": NUM_CLIPS,
        "computed": NUM_CLIPS - len(published),
        "found_finished": len(published),
    }
    output = store.fetch(str(row.output))
    assert len(files) == (len(published) if isinstance(store, FolderStore) else 0)
    assert files.items() <= inodes(output).items()  # in a folder the very files
    with service.database.transaction() as session:
        index = session.scalars(select(StageRow).where(StageRow.kind == "index")).one().output
    assert contents(output) == undisturbed(store.fetch(str(index)), row, tmp_path / "undisturbed")
    assert store.published(key, "state") == {}


@pytest.mark.long  # what `tests/worker/host/` says of a stage that is preempted, with a real worker
def test_a_worker_that_shuts_down_leaves_every_finished_clip(service: Service, dataset: str, tmp_path: Path) -> None:
    # As long as housekeeping leaves a lease: a worker that stands still until it has lost it would kill the stage.
    worker = start(service, tmp_path / "host", 3600, TWOSTREAM_LEASE_SECONDS=str(2 * LEASE_SECONDS - 1))
    key = flow_row(service, service.submit(wanted(dataset))).key
    wait_for_clips(service, tmp_path / "host", key)
    rank = rank_process(worker)
    rank.suspend()  # else it could be done before it is asked to stop
    assert service.store.published(key, "state") == {}
    worker.child.send_signal(signal.SIGTERM)
    service.wait_for(lambda: has_pending(rank, signal.SIGTERM), "the signal to the stage that is held")
    rank.resume()
    worker.child.wait(PATIENCE_SECONDS)
    assert service.attempts("flow") == [("failed", "preempted")]
    finished = inodes(tmp_path / "host" / "work" / "stages" / key[:2] / key / "1" / "state")
    assert len(finished) >= 3
    assert service.store.published(key, "state") == {1: sorted(finished)}


def has_pending(process: psutil.Process, number: signal.Signals) -> bool:
    """Tell whether a process that is held still has a signal to answer; one that is gone never will."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    (pending,) = [line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:")]
    return bool(int(pending, 16) >> (number - 1) & 1)
