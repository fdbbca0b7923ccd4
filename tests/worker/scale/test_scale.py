"""What a stage's process holds in memory does not grow with the number of clips, but for a few facts about each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.stages import IndexParams
from tests.worker.scale.fleet import Fleet, Ran, write_dataset
from worker.host.forkserver import ForkServers

FEW, MANY = 40, 400
PER_CLIP_BYTES = 64 << 10
"""Facts about a clip, its features and scores; one flow stack of its frames takes twenty times as much."""
UCF101 = 13_320
PROCESS_BYTES = {"index": 256 << 20, "flow": 256 << 20}
"""Of a process without torch; others start with some 400 MiB."""
TORCH_BYTES = 1 << 30
MAPS = 4_096
"""Of a process that reads each clip once; the kernel allows 65,530."""

BACKBONE = {"name": "tiny"}
TRAINING = {"epochs": 1, "batch_size": 16}  # fewer than the few clips
MODEL = {"kind": "ts_lstm", "segments": 3, "hidden": [16]}
SEEN = {"kind": "spaced_features"}
NETWORK = {"split": 1, "streams": ["rgb", "flow"], "seed": 0, "model": MODEL, "input": SEEN}


def extract(stream: str, frames: int) -> dict[str, Any]:
    common = {"backbone": BACKBONE, "feature": "pool", "frames": frames, "seed": 1, "flow_stack": 10}
    return {"stream": stream, **common}


def finetune(stream: str) -> dict[str, Any]:
    own = {"stream": stream, "flow_stack": 10 if stream == "flow" else 0, "samples_per_clip": 1}
    common = {"split": 1, "seed": 1, "backbone": BACKBONE, "dropout": 0, "augmentation": None}
    return {**common, **own, "training": TRAINING}


@pytest.fixture(scope="module")
def servers() -> Iterator[ForkServers]:
    servers = ForkServers()
    yield servers
    servers.close()


def run_all(fleet: Fleet, dataset: IndexParams, frames: int) -> dict[str, Ran]:
    """Run the stages of a two-stream experiment, and fine-tuning on flow, whose clips are read again and again."""
    ran = {"index": fleet.run("index", dataset.model_dump(), ())}
    index = ran["index"].output
    flow = {"algorithm": "dis", "bound": 20, "shard": 0, "shards": 1}
    ran["flow"] = fleet.run("flow", flow, (index,))
    fields = ran["flow"].named("flow/0")
    ran["finetune"] = fleet.run("finetune", finetune("flow"), (index, fields))
    ran["flow features"] = fleet.run("extract", extract("flow", frames), (index, fields), "of_flow")
    ran["rgb features"] = fleet.run("extract", extract("rgb", frames), (index,), "of_rgb")
    inputs = (index, ran["rgb features"].named("rgb"), ran["flow features"].named("flow"))
    ran["train"] = fleet.run("train", {**NETWORK, "training": TRAINING}, inputs)
    trained = (*inputs, ran["train"].output)
    ran["score"] = fleet.run("score", {**NETWORK, "average": "probabilities"}, trained)
    return ran


@pytest.mark.long
@pytest.mark.timeout(3_000)
def test_no_process_grows_with_the_number_of_clips(tmp_path: Path, servers: ForkServers) -> None:
    few, many = (
        run_all(
            Fleet(tmp_path / f"of_{count}", servers), write_dataset(tmp_path / f"{count}", count, range(11, 15)), 25
        )
        for count in (FEW, MANY)
    )
    growth = {name: (ran.anonymous_bytes - few[name].anonymous_bytes) / (MANY - FEW) for name, ran in many.items()}
    assert {name: round(grown) for name, grown in growth.items() if grown > PER_CLIP_BYTES} == {}
    opened = {name: ran.mapped - few[name].mapped for name, ran in many.items() if name != "finetune"}
    assert {name: more for name, more in opened.items() if more > (MANY - FEW) / 4} == {}


@pytest.mark.scale
@pytest.mark.timeout(6 * 3600)
def test_as_many_clips_as_ucf101_has(tmp_path: Path, servers: ForkServers) -> None:
    dataset = write_dataset(tmp_path / "dataset", UCF101, range(30, 94))
    ran = run_all(Fleet(tmp_path / "stages", servers), dataset, frames=10)
    for name, found in ran.items():
        print(f"{name}: {found.seconds:.0f} s, {found.anonymous_bytes >> 20} MiB anonymous, {found.mapped} maps")
    assert {
        name: found.anonymous_bytes
        for name, found in ran.items()
        if found.anonymous_bytes > PROCESS_BYTES.get(name, TORCH_BYTES)
    } == {}
    assert {name: found.mapped for name, found in ran.items() if name != "finetune" and found.mapped > MAPS} == {}
