"""Runs stages in this process, on a small dataset of real clips or on features that order alone tells apart."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from services.stages import KINDS
from worker.contract import Reporter, StageInput, Task
from worker.stages.features import write_features
from worker.training.interrupt import interrupt
from worker.video.generated.motion_shapes import write_avi
from worker.video.survey.manifest import MANIFEST_FILE, Clip, Manifest, SplitIds

FRAMES, SIDE = 10, 64
CLASSES = ("Dark", "Light")
TRAINING = {"epochs": 2, "batch_size": 4, "optimizer": {"learning_rate": 0.01}}
SPACED = {"kind": "spaced_features"}


class Finished(NamedTuple):
    """A stage that ran: its task, what it returned, and its events."""

    task: Task
    summary: dict[str, Any]

    @property
    def output(self) -> Path:
        return self.task.output

    def as_input(self, name: str) -> StageInput:
        return StageInput(name=name, kind=self.task.kind, key=self.task.key, path=self.task.output)

    def events(self, kind: str) -> list[dict[str, Any]]:
        events = map(json.loads, self.task.events.read_text().splitlines())
        return [event["data"] for event in events if event["type"] == kind]


class Stages:
    """Prepares tasks below a folder and runs them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def task(self, kind: str, params: Mapping[str, Any], inputs: tuple[StageInput, ...], name: str = "") -> Task:
        """Return a task; one of the same ``name`` is a later attempt with the same state folder."""
        folder = self._folder / (name or f"{kind}{len(list(self._folder.iterdir()))}")
        for part in ("output", "state"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        return Task(
            key=name.ljust(64, "0"),
            kind=kind,
            attempt=1,
            params=KINDS[kind].params.model_validate(params).model_dump(mode="json"),
            inputs=inputs,
            output=folder / "output",
            state=folder / "state",
            events=folder / "events",
            result=folder / "result",
            data_root=folder,
        )

    def run(self, kind: str, params: Mapping[str, Any], inputs: tuple[StageInput, ...], name: str = "") -> Finished:
        task = self.task(kind, params, inputs, name)
        module = importlib.import_module(f"worker.stages.{kind}")
        if "torch" in sys.modules:  # tests share the cores; OpenMP's threads would spin and wait for one another
            sys.modules["torch"].set_num_threads(1)
        report = Reporter(task.events)
        try:
            return Finished(task, module.run(task, KINDS[kind].params.model_validate(params), report))
        finally:
            report.close()


def frames(stream: str = "rgb", feature: str = "pool", **changes: Any) -> dict[str, Any]:
    """Return frames as a network sees them: with ``snippets`` and ``augmentation`` in training, views in the test."""
    own = {"kind": "frames", "stream": stream, "backbone": {"name": "tiny"}, "feature": feature, "flow_stack": 2}
    return {**own, **changes}


class Learn:
    """Trains and scores a network on the small dataset."""

    def __init__(self, stages: Stages, index: StageInput) -> None:
        self._stages, self._index = stages, index

    def __call__(
        self,
        model: Mapping[str, Any],
        *inputs: StageInput,
        seen: Mapping[str, Any] = SPACED,
        viewed: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> tuple[Finished, Finished]:
        """Return both stages; ``seen`` is the input of training, ``viewed`` that of the test where it is another."""
        streams = [seen["stream"]] if "stream" in seen else [entry.name for entry in inputs]
        common, given = {"split": 1, "streams": streams, "seed": 2, "model": model}, (self._index, *inputs)
        trained = self._stages.run("train", {**common, "training": TRAINING, "input": seen}, given, name)
        scoring = {**common, "average": "probabilities", "input": viewed or seen}
        return trained, self._stages.run("score", scoring, (*given, trained.as_input("train")))


@pytest.fixture(autouse=True)
def _no_interrupt() -> Iterator[None]:
    """No request to stop is left over."""
    yield
    interrupt.clear()


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    folder = tmp_path / "stages"
    folder.mkdir()
    return Stages(folder)


@pytest.fixture
def learn(stages: Stages, dataset: tuple[Manifest, StageInput, StageInput]) -> Learn:
    return Learn(stages, dataset[1])


@pytest.fixture
def extracted(stages: Stages, dataset: tuple[Manifest, StageInput, StageInput]) -> Callable[..., StageInput]:
    """A function that extracts features of a stream."""

    def run(stream: str, **changes: Any) -> StageInput:
        own = {"stream": stream, "flow_stack": 2 * (stream == "flow")}
        common = {"backbone": {"name": "tiny"}, "feature": "conv4", "frames": 5, "seed": 4}
        return stages.run("extract", {**own, **common, **changes}, dataset[1:]).as_input(stream)

    return run


def clip(label: int, number: int) -> Clip:
    name = f"{CLASSES[label]}/v_{CLASSES[label]}_g{number:02d}_c01"
    size = {"width": SIDE, "height": SIDE}
    return Clip(id=name, path=f"{name}.avi", label=label, group=number, sha256="", frames=FRAMES, fps=25.0, **size)


def manifest_of(root: Path, per_class: int) -> Manifest:
    clips = tuple(clip(label, number) for label in (0, 1) for number in range(1, per_class + 1))
    train = tuple(c.id for c in clips if c.group is not None and c.group > 2)
    test = tuple(c.id for c in reversed(clips) if c.group is not None and c.group <= 2)
    splits = {1: SplitIds(train=train, test=test), 2: SplitIds(train=test, test=train)}
    return Manifest(dataset="shades", root=root, classes=CLASSES, clips=clips, splits=splits)


def input_of(kind: str, path: Path, name: str = "") -> StageInput:
    return StageInput(name=name or kind, kind=kind, key="1" * 64, path=path)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, StageInput, StageInput]:
    """Eight clips, dark or light, with random flow: the manifest, and the inputs ``index`` and ``flow/0``."""
    folder = tmp_path_factory.mktemp("dataset")
    manifest = manifest_of(folder / "clips", per_class=4)
    rng = np.random.default_rng(0)
    for entry in manifest.clips:
        frames = rng.integers(0, 60, (FRAMES, SIDE, SIDE, 3)) + 150 * entry.label
        (manifest.root / entry.path).parent.mkdir(parents=True, exist_ok=True)
        write_avi(manifest.root / entry.path, frames.astype(np.uint8))
        fields = rng.integers(100, 156, (FRAMES - 1, 2, SIDE, SIDE), dtype=np.uint8)
        (folder / "flow" / entry.id).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / "flow" / f"{entry.id}.npy", fields)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return manifest, input_of("index", folder), input_of("flow", folder / "flow", "flow/0")


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, dict[str, StageInput]]:
    """Features (40, 6, 4) that rise or fall over time, by stream; inputs ``index``, ``rgb`` and ``flow``."""
    folder = tmp_path_factory.mktemp("features")
    manifest = manifest_of(folder, per_class=20)
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    rng = np.random.default_rng(0)
    inputs = {"index": input_of("index", folder)}
    for stream in ("rgb", "flow"):
        rise = np.linspace(-1, 1, 6)[None, :, None] * np.array([1 - 2 * c.label for c in manifest.clips])[:, None, None]
        values = (rise + 0.3 * rng.standard_normal((len(manifest.clips), 6, 4))).astype(np.float32)
        (folder / stream).mkdir()
        write_features(folder / stream, manifest.clips, [6] * len(values), [values.reshape(-1, 4)])
        inputs[stream] = input_of("extract", folder / stream, stream)
    return manifest, inputs
