"""A small file that asks for much: refused by name before it is decoded, wherever decoding starts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from services.errors import DataError
from services.params import FlowMethodParams
from services.stages import FlowParams, IndexParams
from tests.worker.video.made_clips import decode_frames
from worker.contract import Reporter, StageInput, Task
from worker.stages import flow, gpu_flow, index
from worker.video.decoding.decode import DecodeFailed, FrameReader, decode_clip, iterate_frames
from worker.video.decoding.limits import LIMITS, Limits
from worker.video.generated.motion_shapes import write_avi
from worker.video.input.dataset import RgbSource
from worker.video.input.on_the_fly import OnTheFlyFlow
from worker.video.survey.inspection import inspect_clip, probe_clip
from worker.video.survey.isolation import Inspector
from worker.video.survey.manifest import Clip, Manifest
from worker.video.survey.survey import Failure, SurveyLog, survey

FRAMES, HEIGHT, WIDTH = 4, 48, 64
SMALLER = Limits(pixels=HEIGHT * WIDTH - 1)
REFUSED = r"frame 0: frames of 64x48 pixels, allowed: 3071 pixels; hint: TWOSTREAM_MAX_FRAME_MEGAPIXELS"
MOTION = FlowMethodParams(algorithm="tvl1", bound=20)
CPU = torch.device("cpu")

Read = Callable[[Path, Limits], object]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return written(tmp_path / "C/x.avi")


def written(path: Path, codec: str = "mjpeg", size: tuple[int, int] = (WIDTH, HEIGHT), frames: int = FRAMES) -> Path:
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0]), 30 * number, np.uint8), format="gray")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def entry(path: Path, **changes: Any) -> Clip:
    facts = {"label": 0, "group": 1, "sha256": "", "fps": 25.0, "width": WIDTH, "height": HEIGHT, "frames": FRAMES}
    return Clip(**{"id": "C/x", "path": f"C/{path.name}", **facts, **changes})


def source(path: Path, limits: Limits) -> object:
    return RgbSource(path.parents[1], limits=limits).read(entry(path), [0])


def again(path: Path, limits: Limits) -> object:
    """Read a clip whose packets are remembered, through the decoder that they are given to."""
    reader = FrameReader(limits=LIMITS)
    reader.read(path, [0], paired=True)
    reader._limits = limits
    return reader.read(path, [0, 1], paired=True)


DOORS: dict[str, Read] = {
    "inspection": lambda path, limits: inspect_clip(path, limits=limits),
    "probe": lambda path, limits: probe_clip(path, limits=limits),
    "frames": lambda path, limits: next(iterate_frames(path, limits=limits)),
    "clip": lambda path, limits: decode_clip(path, limits=limits),
    "chosen": lambda path, limits: decode_frames(path, [1], limits=limits),
    "paired": lambda path, limits: decode_frames(path, [1], paired=True, limits=limits),
    "rgb": source,
    "rgb, not kept": lambda path, limits: RgbSource(path.parents[1], 0, limits=limits).read(entry(path), [0]),
    "flow on the fly": lambda path, limits: OnTheFlyFlow(path.parents[1], MOTION, 1, CPU, limits=limits).read(
        entry(path), [0]
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("codec", "suffix"), [("mjpeg", "avi"), ("mpeg4", "avi"), ("libx264", "mp4"), ("ffv1", "mkv")])
def test_frames_that_are_too_large_are_refused_by_the_header(
    tmp_path: Path, door: str, codec: str, suffix: str
) -> None:
    path = written(tmp_path / f"C/x.{suffix}", codec)
    with pytest.raises(DecodeFailed, match=REFUSED):
        DOORS[door](path, SMALLER)


def test_what_is_remembered_of_a_clip_does_not_get_round_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path / "C/x.avi", "mpeg4")
    with pytest.raises(DecodeFailed, match="Invalid argument, as of a frame larger than the header says"):
        again(path, SMALLER)


@pytest.mark.parametrize(("codec", "suffix"), [("mjpeg", "avi"), pytest.param("ffv1", "mkv", marks=pytest.mark.long)])
def test_the_usual_limit_refuses_what_has_more_pixels_than_8k_video(tmp_path: Path, codec: str, suffix: str) -> None:
    path = written(tmp_path / f"C/x.{suffix}", codec, (6400, 6400), frames=1)
    assert path.stat().st_size < 2_000_000
    with Inspector() as inspector, pytest.raises(DecodeFailed, match="frames of 6400x6400 pixels, allowed: 36000000"):
        inspector.inspect(path)


def test_a_frame_that_is_larger_than_its_header_says_is_refused(tmp_path: Path) -> None:
    """A Motion JPEG's pictures say their sizes themselves."""
    path = written(tmp_path / "C/x.avi", size=(640, 480))
    content = path.read_bytes()
    for old, new in ((640, 16), (480, 16)):
        content = content.replace(old.to_bytes(4, "little"), new.to_bytes(4, "little"))
    path.write_bytes(content)
    for read in DOORS.values():
        with pytest.raises(DecodeFailed, match=r"x\.avi: frame 0: "):
            read(path, SMALLER)
    assert probe_clip(path).width == 640


def twice(path: Path, limits: Limits) -> object:
    reader = FrameReader(limits=limits)
    reader.read(path, [0], paired=True)
    return reader.read(path, range(FRAMES), paired=True)


BYTES: dict[str, Read] = {
    "clip": lambda path, limits: decode_clip(path, limits=limits),
    "chosen": lambda path, limits: decode_frames(path, range(FRAMES), limits=limits),
    "paired": lambda path, limits: decode_frames(path, range(FRAMES), paired=True, limits=limits),
    "remembered": twice,
    "rgb": lambda path, limits: RgbSource(path.parents[1], limits=limits).read(entry(path), range(FRAMES)),
    "flow on the fly": lambda path, limits: OnTheFlyFlow(path.parents[1], MOTION, 3, CPU, limits=limits).read(
        entry(path), [1, 2]
    ),
}


@pytest.mark.parametrize("door", BYTES)
@pytest.mark.parametrize(("codec", "suffix"), [("mjpeg", "avi"), ("mpeg4", "avi"), ("mjpeg", "mkv")])
def test_no_more_frames_are_held_than_the_limit_allows(tmp_path: Path, door: str, codec: str, suffix: str) -> None:
    """A Matroska file does not say how many frames it has."""
    path = written(tmp_path / f"C/x.{suffix}", codec)
    channels = 1 if door == "flow on the fly" else 3
    exactly = FRAMES * HEIGHT * WIDTH * channels
    BYTES[door](path, Limits(bytes=exactly))
    words = f"4 frames of 64x48x{channels} take 0.0 GB at once, allowed: .* GB; hint: TWOSTREAM_MAX_DECODE_GIGABYTES"
    with pytest.raises(DecodeFailed, match=words):
        BYTES[door](path, Limits(bytes=exactly - 1))


def test_frames_that_are_shrunk_count_as_what_they_become(clip: Path) -> None:
    shrunk = decode_clip(clip, short_side=24, limits=Limits(bytes=FRAMES * 24 * 32 * 3))
    assert shrunk.shape == (FRAMES, 24, 32, 3)
    with pytest.raises(DecodeFailed, match="4 frames of 32x24x3"):
        decode_clip(clip, short_side=24, limits=Limits(bytes=FRAMES * 24 * 32 * 3 - 1))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    for name in ("output", "state"):
        (tmp_path / name).mkdir()
    names = {name: tmp_path / name for name in ("output", "state", "events", "result")}
    common = {"key": "k", "kind": "flow", "attempt": 1, "params": {}, "inputs": (), "data_root": tmp_path / "data"}
    return Task(**common, **names)


@pytest.fixture
def report(task: Task) -> Any:
    reporter = Reporter(task.events)
    yield reporter
    reporter.close()


@pytest.mark.parametrize("module", [flow, gpu_flow])
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_frame_pixels": SMALLER.pixels}, REFUSED),
        ({"max_decode_bytes": 3 * 2 * HEIGHT * WIDTH - 1}, "3 frames of 64x48x2 take"),
    ],
)
def test_flow_stages_keep_the_limits(
    clip: Path, task: Task, report: Reporter, module: Any, limit: dict[str, int], words: str
) -> None:
    folder = clip.parents[1] / "index"
    folder.mkdir()
    manifest = Manifest(dataset="x", root=clip.parents[1], classes=("C",), clips=(entry(clip),), splits={})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    limited = task.model_copy(
        update={"inputs": (StageInput(name="index", kind="index", key="i", path=folder),), **limit}
    )
    with pytest.raises(DataError, match=words):
        module.run(limited, FlowParams(algorithm="tvl1", bound=20, shard=0, shards=1), report)


@pytest.fixture
def lists(clip: Path, tmp_path: Path) -> Path:
    write_avi(clip.parent / "y.avi", np.zeros((3, 16, 16, 3), np.uint8))
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / "classInd.txt").write_text("1 C\n")
    (folder / "trainlist01.txt").write_text("C/x.avi\n")
    (folder / "testlist01.txt").write_text("C/y.avi\n")
    return folder


def test_the_index_keeps_the_limit(clip: Path, lists: Path, task: Task, report: Reporter) -> None:
    params = IndexParams(dataset="x", root=str(clip.parents[1]), annotations=str(lists))
    with pytest.raises(DataError, match=rf"trainlist01\.txt:1: .*x\.avi: {REFUSED}"):
        index.run(task.model_copy(update={"max_frame_pixels": SMALLER.pixels}), params, report)
    index.run(task, params, report)
    with pytest.raises(DataError, match=REFUSED):  # though what the clip holds is known from the run before
        index.run(task.model_copy(update={"max_frame_pixels": SMALLER.pixels}), params, report)


def test_the_doctor_keeps_the_limit(clip: Path, lists: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.video.survey.doctor", "--root", str(tmp_path), "--lists", str(lists)]
    command += ["--state", str(tmp_path / "doctor"), "--max-frame-pixels", str(SMALLER.pixels)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=240)
    report = json.loads(done.stdout.splitlines()[-1])["report"]
    assert list(report["undecodable"]) == ["C/x.avi"]
    assert "frames of 64x48 pixels, allowed: 3071 pixels" in report["undecodable"]["C/x.avi"]
    found = dict(survey(tmp_path, ["C/x.avi"], SurveyLog(tmp_path / "other"), 1, SMALLER))
    assert isinstance(found["C/x.avi"], Failure)


def test_a_clip_of_many_bytes_is_not_held_to_see_how_its_packets_hang_together(clip: Path) -> None:
    assert probe_clip(clip).paired
    info = probe_clip(clip, packet_bytes=1000)
    assert (info.paired, info.frames) == (False, FRAMES)
