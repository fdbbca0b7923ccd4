"""Files below the data root: clips' flow, which outputs share, and generated datasets."""

from __future__ import annotations

import os
from pathlib import Path

from services.cache.collection import Collector
from services.cache.inventory import Inventory, listed, total_bytes
from services.datasets.motion_shapes import MotionShapesParams
from tests.services.cache.conftest import House
from tests.services.conftest import small_spec

FLOW = {"streams": ("flow",), "flow": {"algorithm": "farneback", "shards": 1}}


def clip_file(house: House, name: str = "ab" * 32, size: int = 1000, modified_at: float = 1e9) -> Path:
    path = house.data / "flow" / name[:2] / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"c" * size)
    os.utime(path, (modified_at, modified_at))
    return path


def test_a_clip_that_an_output_has_is_counted_once_and_goes_with_it(local: House) -> None:
    local.submit(small_spec(**FLOW))
    local.run()
    [shared] = (local.data / "flow").rglob("*.npy")
    assert shared.stat().st_nlink == 2
    [entry] = local.entries("flow")
    assert entry.bytes == 500
    assert local.gc(0).after == 60
    assert not shared.exists()


def test_an_output_that_others_share_leaves_their_files(local: House) -> None:
    local.submit(small_spec(**FLOW))
    local.run()
    [first] = local.entries("flow")
    other = local.submit(small_spec(streams=("flow",), flow={"algorithm": "farneback", "shards": 2}))
    assert other
    [held] = local.entries("flow")
    assert held.held is not None
    assert "may use its clips" in held.held
    assert local.gc(0, ("flow",)).taken == ()
    assert held.key == first.key


def test_clips_that_no_output_has_go_by_age_unless_flow_is_awaited(local: House) -> None:
    old, new = clip_file(local, "ab" * 32, modified_at=1e9), clip_file(local, "cd" * 32, modified_at=1.1e9)
    linked = clip_file(local, "ef" * 32, modified_at=0.9e9)
    os.link(linked, local.data.parent / "state_of_a_stage")
    local.submit(small_spec(**FLOW))
    assert {entry.held is None for entry in local.entries("flow")} == {False}
    assert local.gc(0).taken == ()
    local.run()
    stock = local.collector.take_stock().entries
    joined = [entry for entry in listed(stock) if (entry.category == "flow" and entry.count > 1) or "*" in entry.key]
    assert sorted((entry.count, entry.bytes, entry.held is None) for entry in joined) == [
        (1, 1000, False),
        (2, 2000, True),
    ]
    done = local.gc(total_bytes(stock) - 1)
    assert [entry.paths for entry in done.taken] == [(str(old.relative_to(local.data)),)]
    assert not old.exists()
    local.gc(0)
    assert not new.exists()
    assert linked.exists()


def test_what_a_killed_writer_left_goes_with_age(local: House) -> None:
    path = clip_file(local)
    half = path.rename(path.with_name(f".{path.name}.12.34.tmp"))
    assert [entry.path for entry in local.gc(0).taken[0].files] == [str(half.relative_to(local.data))]
    os.utime(clip_file(local).rename(half))
    assert local.gc(0).taken == ()


def test_a_clip_that_was_used_since_it_was_counted_stays(local: House) -> None:
    path = clip_file(local)

    class Slow(Collector):
        def take_stock(self) -> Inventory:
            stock = super().take_stock()
            os.utime(path)  # a stage has read it meanwhile
            return stock

    local.collector = Slow(local.database, local.store, local.data, grace_seconds=3600, tracked=False)
    assert local.gc(0).taken == ()
    assert path.exists()


def test_frames_that_a_running_stage_has_opened_stay(local: House) -> None:
    local.submit(small_spec())
    local.run("extract")
    old, opened = (local.data / "frames" / name[:2] / f"{name}.npy" for name in ("ab" * 32, "cd" * 32))
    for path in (old, opened):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"f" * 1000)
    os.utime(old, (1e9, 1e9))
    assert [entry.paths for entry in local.gc(0, ("frames",)).taken] == [(str(old.relative_to(local.data)),)]
    assert opened.exists()


def test_files_that_are_not_ours_are_neither_counted_nor_taken(local: House) -> None:
    (local.data / "UCF-101").mkdir()
    (local.data / "UCF-101" / "v.avi").write_bytes(b"x")
    (local.data / "flow").mkdir()
    mine = local.data / "flow" / "notes.txt"
    mine.write_text("mine")
    local.collector = local.collector_with(grace_seconds=0)
    assert local.gc(0, ("flow", "frames", "index", "leftovers")).taken == ()
    assert mine.exists()


def test_generated_clips_go_with_their_index_and_only_when_named(local: House) -> None:
    folder = local.data / MotionShapesParams().folder_name
    (folder / "UCF-101").mkdir(parents=True)
    (folder / "UCF-101" / "v.avi").write_bytes(b"x" * 77)
    os.utime(folder / "UCF-101" / "v.avi", (1e9, 1e9))
    local.submit(small_spec())
    assert local.gc(0, ("index",)).taken == ()
    local.run()
    [entry] = local.entries("index")
    assert entry.bytes == 87
    assert local.gc(0).after == 137
    assert folder.exists()
    assert local.gc(0, ("index",)).after == 0
    assert not folder.exists()
    assert local.row("index").state == "evicted"
    local.submit(small_spec(model={"kind": "mean_pooling"}))
    assert [label.split()[0] for label in local.run()] == ["index", "extract", "train", "score", "fuse"]
