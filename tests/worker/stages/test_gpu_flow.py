"""The same files as the `flow` stage makes, by the batched algorithms, and what both stages share of them."""

import hashlib
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.errors import DataError
from services.stages import FlowParams
from tests.worker.conftest import pixels
from worker.contract import Reporter, StageInput
from worker.stages import flow, gpu_flow
from worker.video.decoding.decode import DecodeFailed
from worker.video.flow import open_flow
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import MANIFEST_FILE, Clip, Manifest

FRAMES = {"A/a": 4, "A/b": 3, "B/c": 5}


def sliding(num_frames: int) -> np.ndarray:
    """Return uint8 (T, 32, 40, 3), a texture that moves 1 pixel to the right in each frame."""
    down, across = np.mgrid[0:32, 0:40].astype(np.float64)
    places = across[None] - np.arange(num_frames)[:, None, None]
    grey = 127 + 40 * (np.sin(places / 2.5) + np.sin(down / 3.1) + np.sin((places + down) / 4.3))
    return np.rint(grey).astype(np.uint8)[..., None].repeat(3, axis=-1)


@pytest.fixture
def index(tmp_path: Path) -> StageInput:
    clips, root = [], tmp_path / "clips"
    for label, (name, frames) in enumerate(FRAMES.items()):
        path = root / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_avi(path, sliding(frames))
        size = {"width": 40, "height": 32, "frames": frames, "fps": 25.0}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        clips.append(Clip(id=name, path=f"{name}.avi", label=label, group=1, sha256=digest, **size))
    manifest = Manifest(dataset="x", root=root, classes=("A", "B", "C"), clips=tuple(clips), splits={})
    (tmp_path / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return StageInput(name="index", kind="index", key="1" * 64, path=tmp_path)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def params(**changes: Any) -> dict[str, Any]:
    return {"algorithm": "tvl1", "bound": 20.0, "shard": 0, "shards": 1, **changes}


@pytest.mark.parametrize("algorithm", ["tvl1", "brox"])
def test_fields_show_the_motion(stages: Any, index: StageInput, algorithm: str) -> None:
    finished = stages.run("gpu_flow", params(algorithm=algorithm), (index,))
    assert finished.summary.pop("pictured") == ["A/a", "A/b", "B/c"]
    assert finished.summary == {"clips": 3, "computed": 3, "found_finished": 0, "fields": 9, "saturated": 0.0}
    assert json.loads((finished.output / "clips.json").read_text()) == FRAMES
    for clip, frames in FRAMES.items():
        fields = np.load(finished.output / f"{clip}.npy")
        assert (fields.dtype, fields.shape) == (np.uint8, (frames - 1, 2, 32, 40))
        x, y = pixels(fields[:, :, 8:24, 8:32], 20.0).mean(axis=(0, 2, 3))
        assert (x, y) == pytest.approx((1.0, 0.0), abs=0.2)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("flow", "png"), ("flow", "jpeg"), ("gpu_flow", "png"), pytest.param("gpu_flow", "jpeg", marks=pytest.mark.long)],
)
def test_codecs_hold_the_same_fields(stages: Any, index: StageInput, kind: str, codec: str) -> None:
    raw = stages.run(kind, params(), (index,)).output
    packed = stages.run(kind, params(codec=codec, jpeg_quality=95 if codec == "jpeg" else None), (index,)).output
    for clip, frames in FRAMES.items():
        every = list(range(frames - 1))
        fields, found = open_flow(raw / f"{clip}.npy")[every], open_flow(packed / f"{clip}.flow")[every]
        assert np.abs(fields.astype(int) - found).max() <= (3 if codec == "jpeg" else 0)


def test_other_stages_find_a_clip_by_its_content(stages: Any, index: StageInput) -> None:
    def computed(kind: str = "gpu_flow", **changes: Any) -> int:
        task = stages.task(kind, params(**changes), (index,)).model_copy(update={"data_root": index.path / "data"})
        with closing(Reporter(task.events)) as report:
            module = {"flow": flow, "gpu_flow": gpu_flow}[kind]
            return module.run(task, FlowParams.model_validate(task.params), report)["computed"]

    assert computed(shard=1, shards=2) == 1
    assert computed() == 2
    assert computed() == 0
    assert [computed(bound=15.0), computed(codec="png"), computed(quantization="frame_min_max")] == [3, 3, 3]
    assert computed("flow") == 3  # OpenCV's fields differ
    assert not list(index.path.rglob(".*.tmp"))


def test_a_killed_stage_goes_on_clip_by_clip(stages: Any, index: StageInput) -> None:
    whole = stages.run("gpu_flow", params(), (index,))
    content = (whole.output / "B/c.npy").read_bytes()
    for file in (whole.task.data_root / "flow").rglob("*.npy"):
        file.unlink()
    (whole.task.state / "B/c.npy").unlink()
    (index.path / "clips/A/a.avi").unlink()  # would fail if it were read
    again = stages.run("gpu_flow", params(), (index,), whole.task.output.parent.name)
    assert again.summary.pop("pictured") == ["A/b", "B/c"]
    assert again.summary == {"clips": 3, "computed": 1, "found_finished": 2, "fields": 9, "saturated": 0.0}
    assert (again.output / "B/c.npy").read_bytes() == content


def test_finished_clips_are_told_of_as_checkpoints(stages: Any, index: StageInput) -> None:
    task = stages.task("gpu_flow", params(), (index,)).model_copy(update={"checkpoint_seconds": 0})
    with closing(Reporter(task.events)) as report:
        gpu_flow.run(task, FlowParams.model_validate(task.params), report)
    events = [json.loads(line) for line in task.events.read_text().splitlines()]
    assert [event["data"] for event in events if event["type"] == "checkpoint"] == [{"clips": 1}, {"clips": 2}]


def test_larger_frames_are_brought_to_a_short_side(stages: Any, index: StageInput) -> None:
    """The same frames as the other kind of stage takes, so that both see the same motion."""
    fields = {
        kind: np.load(stages.run(kind, params(resize=24), (index,)).output / "B/c.npy") for kind in ("flow", "gpu_flow")
    }
    assert {values.shape for values in fields.values()} == {(4, 2, 24, 30)}
    assert np.abs(fields["flow"].astype(int) - fields["gpu_flow"]).mean() < 1


def test_a_clip_that_changed_is_refused(stages: Any, index: StageInput) -> None:
    write_avi(index.path / "clips/A/b.avi", sliding(6))
    with pytest.raises(DecodeFailed, match=r"A/b\.avi: frame 6: the manifest has 3 frames, 6 decode"):
        stages.run("gpu_flow", params(), (index,))
    (index.path / "clips/A/b.avi").write_bytes(b"")
    with pytest.raises(DataError, match=r"A/b\.avi"):
        stages.run("gpu_flow", params(), (index,))
