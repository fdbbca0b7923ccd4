"""TV-L1 of genuine clips, posted to the API and killed in mid-flow: what was finished is never computed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import httpx
import psutil
import pytest
from sqlalchemy import select

from services.db.tables import StageRow
from services.queue import experiments
from services.scores.files import read_scores
from tests.system.conftest import Service, kill, rank_process, spec, training

CLIPS = Path(__file__).parents[3] / "shared" / "data" / "clips" / "UCF-101"
CLASSES = ("Punch", "YoYo")
TRAIN_GROUP, TEST_GROUP = 1, 3
NUM_CLIPS = len(CLASSES) * 2
FRAMES = 3  # a pair of genuine frames takes TV-L1 about a second

pytestmark = [
    pytest.mark.data,
    pytest.mark.xdist_group("chaos"),
    pytest.mark.timeout(600),  # 45 s of processor time, more by the clock where others compute
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the genuine clips do not lie beside this checkout"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder of this test alone: the finished flow of other tests must not be found."""
    return tmp_path / "data"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """The first frames of four genuine clips, as the owner encoded them, and their lists."""
    root, lists = tmp_path / "clips", tmp_path / "lists"
    lists.mkdir()
    lines: dict[str, list[str]] = {"classInd": [], "trainlist01": [], "testlist01": []}
    for number, name in enumerate(CLASSES, start=1):
        lines["classInd"].append(f"{number} {name}")
        for group in (TRAIN_GROUP, TEST_GROUP):
            path = f"{name}/v_{name}_g{group:02}_c01.avi"
            cut(CLIPS / path, root / path)
            lines["testlist01" if group == TEST_GROUP else "trainlist01"].append(path)
    for file, content in lines.items():
        (lists / f"{file}.txt").write_text("".join(f"{line}\n" for line in content))
    return {"root": str(root), "annotations": str(lists)}


def cut(source: Path, target: Path) -> None:
    """Copy the packets of the first frames without encoding them again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as whole, av.open(str(target), "w") as part:
        video = whole.streams.video[0]
        stream = part.add_stream_from_template(video)
        for packet in islice(whole.demux(video), FRAMES):
            packet.stream = stream
            part.mux(packet)


def submit(api: httpx.Client, folders: dict[str, str], dataset: str) -> str:
    """Register a dataset and post an experiment on its flow."""
    answer = api.post("/datasets", json={"name": dataset, "layout": "ucf101", **folders})
    assert answer.status_code == 201, answer.text
    wanted = spec(
        dataset=dataset,
        streams=["flow"],
        backbone={"name": "tiny", "finetune": None},
        flow={"algorithm": "tvl1", "stack": 2, "shards": 1},
        training=training(2),
        evaluation={"frames": 3},
    )
    answer = api.post("/experiments", json=wanted.model_dump(mode="json"))
    assert answer.status_code == 202, answer.text
    found: str = answer.json()["id"]
    return found


class FlowStage:
    """What the only unfinished flow stage has written so far."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._work = service.settings.work / "stages"

    def files(self, attempt: int) -> dict[str, int]:
        """Return the clip files in the state of an attempt, each with the number by which the disk knows it."""
        with self._service.database.transaction() as session:
            key = session.scalars(select(StageRow.key).where(StageRow.kind == "flow")).one()
        return inodes(self._work / key[:2] / key / str(attempt) / "state")

    def interrupt(self, attempt: int, more_than: int, victim: Callable[[], int]) -> dict[str, int]:
        """Kill a process once an attempt has a clip more than the one before, and return what the attempt leaves."""
        self._service.wait_for(lambda: len(self.files(attempt)) > more_than, f"clip {more_than + 1} of {attempt}")
        rank = rank_process(self._service.workers[-1])
        kill(victim())
        self._service.wait_for(lambda: not psutil.pid_exists(rank.pid), "the end of the stage's process")
        return self.files(attempt)


def inodes(folder: Path) -> dict[str, int]:
    """A file that is written again is another file; one that is only linked stays the same."""
    return {path.relative_to(folder).as_posix(): path.stat().st_ino for path in sorted(folder.rglob("*.npy"))}


def outcome(service: Service, experiment_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the summary of the flow stage, and the bytes of the flow with the scores that came of it."""
    with service.database.transaction() as session:
        (row,) = [view.row for view in experiments.stages(session, experiment_id) if view.row.kind == "flow"]
        assert row.summary is not None
        summary = dict(row.summary)
    flow = service.output(experiment_id, "flow")
    files = {path.relative_to(flow).as_posix(): path.read_bytes() for path in flow.rglob("*") if path.is_file()}
    scores = read_scores(service.output(experiment_id, "score")).scores.tolist()
    return summary, files | {"scores": scores}


@pytest.mark.long
def test_flow_that_is_killed_twice_computes_no_clip_twice(service: Service, folders: dict[str, str]) -> None:
    with service.api() as api:
        one_clip_at_a_time = {"concurrency": os.cpu_count()}
        worker = service.start_worker(**one_clip_at_a_time)
        disturbed = submit(api, folders, "disturbed")
        service.wait_for_event("progress", "flow")
        stage = FlowStage(service)
        first = stage.interrupt(1, 0, lambda: rank_process(worker).pid)
        second = stage.interrupt(2, len(first), lambda: worker.pid)
        assert 0 < len(first) < len(second) < NUM_CLIPS
        service.start_worker(**one_clip_at_a_time)
        service.finish(disturbed)
        assert service.attempts("flow") == [("failed", "worker_lost"), ("failed", "worker_lost"), ("succeeded", None)]

        summary, files = outcome(service, disturbed)
        final = inodes(service.output(disturbed, "flow"))
        assert len(final) == NUM_CLIPS
        assert first.items() <= second.items() <= final.items()
        computed = (len(first), len(second) - len(first), summary["computed"])
        assert sum(computed) == NUM_CLIPS, computed
        assert summary["found_finished"] == len(second)

        shutil.rmtree(service.settings.data)  # else its clips would be found by their content
        undisturbed = submit(api, folders, "undisturbed")
        service.finish(undisturbed)
        again, expected = outcome(service, undisturbed)
        assert (again["computed"], again["found_finished"]) == (NUM_CLIPS, 0)
        assert files == expected
