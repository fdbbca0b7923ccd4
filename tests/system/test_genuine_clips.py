"""Genuine UCF101 clips from their files to results, through a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.board import leaderboard
from services.queue import experiments
from tests.system.conftest import Service, spec, training

SHARED = Path(__file__).parents[3] / "shared" / "data"
CLIPS, LISTS = SHARED / "clips" / "UCF-101", SHARED / "annotations" / "ucf101-mini"

pytestmark = [
    pytest.mark.data,
    pytest.mark.xdist_group("chaos"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CLIPS.is_dir(), reason="the genuine clips do not lie beside this checkout"),
]


def first_of_each_group(folder: Path) -> int:
    """Write the lists with the first clip of each group alone, and return how many clips they name."""
    named = set()
    for file in LISTS.iterdir():
        lines = [line for line in file.read_text().splitlines() if "_c01" in line or file.name == "classInd.txt"]
        (folder / file.name).write_text("".join(f"{line}\n" for line in lines))
        named |= {line.split()[0] for line in lines if "_c01" in line}
    return len(named)


@pytest.mark.long
def test_two_streams_of_genuine_clips_reach_the_leaderboard(service: Service, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    named = first_of_each_group(lists)
    service.start_worker(concurrency=2)
    service.add_dataset("ucf101-mini", root=str(CLIPS), annotations=str(lists))
    wanted = spec(
        dataset="ucf101-mini",
        splits=[1, 2, 3],
        streams=["rgb", "flow"],
        backbone={"name": "tiny", "finetune": None},
        flow={"algorithm": "dis", "stack": 2},
        training=training(30, optimizer={"name": "adam", "learning_rate": 0.003}, checkpoint_steps=None),
        fusion={"method": "features"},
    )
    experiment_id = service.submit(wanted)
    service.finish(experiment_id)
    with service.database.transaction() as session:
        board = leaderboard.rank(session, dataset="ucf101-mini")
        stages = experiments.stages(session, experiment_id)
    (standing,) = board.rows
    assert set(standing.splits) == {1, 2, 3}
    assert standing.lower is not None
    assert standing.upper is not None
    assert standing.lower < (standing.value or 0) <= standing.upper
    index = next(view.row for view in stages if view.row.kind == "index")
    assert index.summary is not None
    assert (index.summary["clips"], index.summary["surplus"]) == (named, 72 - named)
    fitted = [view.row.summary["train_accuracy"] for view in stages if view.row.kind == "train" and view.row.summary]
    assert min(fitted) >= 0.95
