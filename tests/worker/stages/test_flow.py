import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from services.errors import DataError
from services.stages import FlowParams
from tests.worker.conftest import pixels
from worker.contract import Reporter, StageInput, Task
from worker.stages import flow
from worker.video.decoding.decode import DecodeFailed, iterate_frames
from worker.video.flow.storage import clip_key
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import Clip, Manifest

PARAMS = FlowParams(algorithm="farneback", bound=20.0, shard=0, shards=1)
FRAMES = {"A/a": 5, "A/b": 4, "B/c": 6}


def sliding(num_frames: int) -> np.ndarray:
    """Return uint8 (T, 48, 64, 3), a texture that moves 2 pixels to the right in each frame."""
    down, across = np.mgrid[0:48, 0:64].astype(np.float64)
    places = across[None] - 2 * np.arange(num_frames)[:, None, None]
    grey = 127 + 40 * (np.sin(places / 2.5) + np.sin(down / 3.1) + np.sin((places + down) / 4.3))
    return np.rint(grey).astype(np.uint8)[..., None].repeat(3, axis=-1)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Output folder of an index stage with three clips."""
    clips = []
    for label, (clip_id, frames) in enumerate(FRAMES.items()):
        path = tmp_path / "clips" / f"{clip_id}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_avi(path, sliding(frames))
        clips.append(
            Clip(
                id=clip_id,
                path=f"{clip_id}.avi",
                label=label,
                group=1,
                sha256="",
                frames=frames,
                fps=25,
                width=64,
                height=48,
            )
        )
    manifest = Manifest(dataset="x", root=tmp_path / "clips", classes=("A", "B", "C"), clips=tuple(clips), splits={})
    write_manifest(tmp_path / "index", manifest)
    return tmp_path / "index"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(manifest.model_dump_json())


@pytest.fixture
def task(tmp_path: Path, index: Path) -> Task:
    (tmp_path / "state").mkdir()
    (tmp_path / "output").mkdir()
    return Task(
        key="k",
        kind="flow",
        attempt=1,
        params={},
        inputs=(StageInput(name="index", kind="index", key="i", path=index),),
        output=tmp_path / "output",
        state=tmp_path / "state",
        events=tmp_path / "events",
        result=tmp_path / "result",
        data_root=tmp_path / "data",
        threads=2,
    )


@pytest.fixture
def report(task: Task) -> Iterator[Reporter]:
    reporter = Reporter(task.events)
    yield reporter
    reporter.close()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fields_are_quantised_and_show_the_motion(task: Task, report: Reporter) -> None:
    summary = flow.run(task, PARAMS, report)
    assert summary.pop("pictured") == ["A/a", "A/b", "B/c"]
    assert summary == {"clips": 3, "computed": 3, "found_finished": 0, "fields": 12, "saturated": 0.0}
    assert json.loads((task.output / "clips.json").read_text()) == FRAMES
    for clip_id, frames in FRAMES.items():
        fields = np.load(task.output / f"{clip_id}.npy", mmap_mode="r")
        assert fields.shape == (frames - 1, 2, 48, 64)
        assert fields.dtype == np.uint8
        x, y = pixels(fields[:, :, 12:36, 16:48], 20.0).mean(axis=(0, 2, 3))
        assert x == pytest.approx(2.0, abs=0.3)
        assert y == pytest.approx(0.0, abs=0.3)


def test_shards_have_each_clip_once(task: Task, report: Reporter, tmp_path: Path) -> None:
    flow.run(task, PARAMS, report)
    whole = contents(task.output)
    found: dict[str, bytes] = {}
    for shard in range(2):
        part = task.model_copy(update={"output": tmp_path / f"part{shard}", "state": tmp_path / f"state{shard}"})
        flow.run(part, PARAMS.model_copy(update={"shard": shard, "shards": 2}), report)
        files = contents(part.output)
        assert list(json.loads(files.pop("clips.json"))) == (["A/a", "B/c"], ["A/b"])[shard]
        assert list(json.loads(files.pop("flow.json"))["clips"]) == (["A/a", "B/c"], ["A/b"])[shard]
        del files["pictures.npz"]
        assert not files.keys() & found.keys()
        found |= files
    del whole["clips.json"], whole["flow.json"], whole["pictures.npz"]
    assert found == whole


def test_finished_clips_are_not_computed_again(task: Task, report: Reporter, tmp_path: Path) -> None:
    flow.run(task, PARAMS, report)
    first = contents(task.output)
    shutil.rmtree(task.output)
    (task.state / "A/b.npy").unlink()
    (tmp_path / "clips/A/a.avi").unlink()  # would fail if it were read
    summary = flow.run(task, PARAMS, report)
    assert summary.pop("pictured") == ["A/b", "B/c"]
    assert "no pictures of A/a" in str(events(task, "warning")[-1]["message"])
    assert summary == {"clips": 3, "computed": 1, "found_finished": 2, "fields": 12, "saturated": 0.0}
    found = contents(task.output)
    assert found.pop("pictures.npz") != first.pop("pictures.npz")
    assert found == first


def test_what_was_finished_before_a_failure_is_kept(task: Task, report: Reporter, tmp_path: Path) -> None:
    path = tmp_path / "clips/A/b.avi"  # the shortest clip comes last
    whole = path.read_bytes()
    path.write_bytes(whole[:4000])
    with pytest.raises(DecodeFailed, match=r"A/b\.avi: frame "):
        flow.run(task.model_copy(update={"threads": 1}), PARAMS, report)
    assert set(contents(task.state)) == {"A/a.npy", "B/c.npy"}
    assert contents(task.output) == {}
    path.write_bytes(whole)
    assert flow.run(task, PARAMS, report)["found_finished"] == 2


def test_bytes_do_not_depend_on_threads(task: Task, report: Reporter, tmp_path: Path) -> None:
    flow.run(task, PARAMS, report)
    alone = task.model_copy(update={"threads": 1, "state": tmp_path / "state1", "output": tmp_path / "output1"})
    flow.run(alone, PARAMS, report)
    assert contents(alone.output) == contents(task.output)


def events(task: Task, kind: str) -> list[dict[str, object]]:
    lines = map(json.loads, task.events.read_text().splitlines())
    return [line["data"] for line in lines if line["type"] == kind]


def test_finished_clips_are_told_of_as_checkpoints_but_not_the_last(task: Task, report: Reporter) -> None:
    flow.run(task.model_copy(update={"checkpoint_seconds": 0}), PARAMS, report)
    assert events(task, "checkpoint") == [{"clips": 1}, {"clips": 2}]


def test_checkpoints_keep_their_distance(task: Task, report: Reporter) -> None:
    flow.run(task.model_copy(update={"checkpoint_seconds": 3600}), PARAMS, report)
    assert events(task, "checkpoint") == []


def test_a_long_clip_hides_no_shorter_one_that_is_done(
    task: Task, report: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []

    def read(path: Path, colour: Literal["grey"], **options: Any) -> Iterator[np.ndarray]:
        if path.name == "c.avi":  # the longest, which comes first
            deadline = time.monotonic() + 120
            while len(told) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)  # the stage writes its events in another thread, and tells nobody
                told[:] = events(task, "checkpoint")
        yield from iterate_frames(path, colour, **options)

    monkeypatch.setattr(flow, "iterate_frames", read)
    flow.run(task.model_copy(update={"checkpoint_seconds": 0}), PARAMS, report)
    assert told == [{"clips": 1}, {"clips": 2}]


@pytest.mark.parametrize("codec", ["raw", "png"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_no_finished_clip(
    task: Task, report: Reporter, codec: Literal["raw", "png"], left: float
) -> None:
    params = PARAMS.model_copy(update={"codec": codec})
    flow.run(task, params, report)
    first = contents(task.output)
    (name,) = [name for name in first if name.startswith("A/b")]
    (task.state / name).unlink()  # a link to the output
    (task.state / name).write_bytes(first[name][: int(left * len(first[name]))])
    summary = flow.run(task, params, report)
    assert (summary["computed"], summary["found_finished"]) == (1, 2)
    assert contents(task.output) == first
    (warning,) = events(task, "warning")
    assert f"{name}: " in str(warning["message"])


def test_a_file_cut_short_under_its_address_is_replaced(task: Task, report: Reporter, index: Path) -> None:
    give_hashes(index)
    flow.run(task, PARAMS, report)
    first = contents(task.output)
    address = max((task.data_root / "flow").rglob("*.npy"), key=lambda path: path.stat().st_size)
    whole = address.read_bytes()
    address.unlink()
    address.write_bytes(whole[:-1])
    shutil.rmtree(task.state)
    assert flow.run(task, PARAMS, report)["computed"] == 1
    assert contents(task.output) == first
    assert address.read_bytes() == whole


def test_another_decoders_frames_have_flow_of_their_own(task: Task, report: Reporter, index: Path) -> None:
    found = {}
    for decoder in ("one", "one", "another"):
        give_hashes(index, decoder)
        shutil.rmtree(task.state)
        task.state.mkdir()
        found[decoder] = flow.run(task, PARAMS, report)["found_finished"]
    assert found == {"one": 3, "another": 0}


@pytest.mark.parametrize(("frames", "message"), [(9, "manifest has 9 frames, 5 decode"), (3, "3 frames, 5 decode")])
def test_another_frame_count_than_the_manifests_is_refused(
    task: Task, report: Reporter, index: Path, frames: int, message: str
) -> None:
    change_first_clip(index, frames)
    with pytest.raises(DecodeFailed, match=message):
        flow.run(task, PARAMS, report)


def test_a_clip_of_one_frame_is_refused(task: Task, report: Reporter, index: Path) -> None:
    change_first_clip(index, 1)
    with pytest.raises(DataError, match=r"A/a\.avi: flow needs 2 frames, the clip has 1"):
        flow.run(task, PARAMS, report)


def test_a_clip_too_small_for_the_algorithm_is_refused(task: Task, report: Reporter, index: Path) -> None:
    write_avi(index.parent / "clips/A/a.avi", np.zeros((5, 12, 64, 3), np.uint8))
    change_first_clip(index, 5, height=12)
    named = r"A/a\.avi: flow by dis needs frames of 16x16 pixels or more, the clip's are 64x12"
    with pytest.raises(DataError, match=named):
        flow.run(task, PARAMS.model_copy(update={"algorithm": "dis"}), report)


def change_first_clip(index: Path, frames: int, height: int = 48) -> None:
    manifest = Manifest.model_validate_json((index / "manifest.json").read_text())
    first = manifest.clips[0].model_copy(update={"frames": frames, "height": height})
    write_manifest(index, manifest.model_copy(update={"clips": (first, *manifest.clips[1:])}))


def give_hashes(index: Path, decoder: str = "a decoder") -> None:
    manifest = Manifest.model_validate_json((index / "manifest.json").read_text())
    clips = tuple(
        clip.model_copy(update={"sha256": f"{place:064x}", "decoder": decoder})
        for place, clip in enumerate(manifest.clips)
    )
    write_manifest(index, manifest.model_copy(update={"clips": clips}))


def test_larger_frames_are_brought_to_a_short_side(task: Task, report: Reporter) -> None:
    """Motion is in pixels of what flow is computed from: half the size, half the motion."""
    flow.run(task, PARAMS.model_copy(update={"resize": 24}), report)
    manifest = json.loads((task.output / "flow.json").read_text())
    assert manifest["method"]["resize"] == 24
    for clip_id, frames in FRAMES.items():
        fields = np.load(task.output / f"{clip_id}.npy")
        assert fields.shape == (frames - 1, 2, 24, 32)
        assert manifest["clips"][clip_id] == {"size": [32, 24], "saturated": 0.0}
        x, y = pixels(fields[:, :, 6:18, 8:24], 20.0).mean(axis=(0, 2, 3))
        assert (x, y) == pytest.approx((1.0, 0.0), abs=0.3)


def test_the_motion_that_the_bound_clips_is_said(task: Task, report: Reporter) -> None:
    """The texture moves two pixels in x, and none in y."""
    summary = flow.run(task, PARAMS.model_copy(update={"bound": 1.0}), report)
    assert summary["saturated"] > 0.5
    manifest = json.loads((task.output / "flow.json").read_text())
    assert manifest["saturated"] == summary["saturated"]
    assert all(clip["saturated"] > 0.3 for clip in manifest["clips"].values())
    (warning,) = events(task, "warning")
    assert f"flow.bound: {summary['saturated']:.0%} of the pixels move by 1 pixels or more" in str(warning["message"])
    assert "hint: a larger flow.bound or a smaller flow.resize" in str(warning["message"])


def test_what_was_found_finished_is_as_saturated(task: Task, report: Reporter) -> None:
    params = PARAMS.model_copy(update={"bound": 1.0})
    first = flow.run(task, params, report)
    again = flow.run(task, params, report)
    assert (again["computed"], again["saturated"]) == (0, first["saturated"])


def test_motion_by_its_own_range_has_no_bound(task: Task, report: Reporter) -> None:
    summary = flow.run(task, PARAMS.model_copy(update={"bound": 1.0, "quantization": "frame_min_max"}), report)
    assert summary["saturated"] is None
    assert events(task, "warning") == []


def test_a_size_that_changes_nothing_changes_no_address(task: Task, report: Reporter, index: Path) -> None:
    give_hashes(index)

    def found(resize: int | None) -> int:
        shutil.rmtree(task.state)
        task.state.mkdir()
        return flow.run(task, PARAMS.model_copy(update={"resize": resize}), report)["found_finished"]

    assert [found(resize) for resize in (256, None, 48, 24, 24, 32)] == [0, 3, 3, 0, 3, 0]


def test_the_address_is_that_of_flow_from_before_there_was_a_choice(task: Task, report: Reporter, index: Path) -> None:
    """Released stores hold days of flow under it."""
    give_hashes(index)
    flow.run(task, PARAMS, report)
    old = {"kind": "flow", "algorithm": "farneback", "bound": 20.0, "quantization": "linear", "raft": None}
    old |= {"weights": None, "digest": None, "codec": "raw", "jpeg_quality": None, "decoder": "a decoder"}
    stored = {path.stem for path in (task.data_root / "flow").rglob("*.npy")}
    assert stored == {clip_key(f"{place:064x}", old) for place in range(3)}


def test_state_of_another_size_is_computed_again(task: Task, report: Reporter) -> None:
    flow.run(task, PARAMS.model_copy(update={"resize": None}), report)
    assert flow.run(task, PARAMS.model_copy(update={"resize": 24}), report)["computed"] == 3
    assert len(events(task, "warning")) == 3
    assert np.load(task.output / "A/a.npy").shape == (4, 2, 24, 32)


def test_output_on_another_disk_is_copied(task: Task, report: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    flow.run(task, PARAMS, report)
    files = {"clips.json", "flow.json", "pictures.npz", "A/a.npy", "A/b.npy", "B/c.npy"}
    assert contents(task.output).keys() == files


def test_a_clip_that_vanishes_from_the_store_is_computed_again(
    task: Task, report: Reporter, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_hashes(index)
    flow.run(task, PARAMS, report)
    other = task.model_copy(update={"state": tmp_path / "other_state", "output": tmp_path / "other"})
    link, taken = os.link, []

    def take_first(source: Path, target: Path) -> None:  # as a collection of the cache might, just then
        if not taken and task.data_root in Path(source).parents:
            taken.append(source)
            Path(source).unlink()
        link(source, target)

    monkeypatch.setattr("os.link", take_first)
    summary = flow.run(other, PARAMS, report)
    assert (summary["computed"], summary["found_finished"]) == (1, 2)
    assert contents(other.output) == contents(task.output)
    assert Path(taken[0]).exists()
