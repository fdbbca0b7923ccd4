"""Systems that are planned, trained and scored as the service does it, stage by stage in this process."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from services.bundles.export import write_system
from services.bundles.graph import Node, System
from services.datasets.motion_shapes import CLASSES, GROUPS, MotionShapesParams, clip_path
from services.planning.plan import plan
from services.scores.files import ScoreFile, read_scores
from services.specs import ExperimentSpec
from services.stages import IndexParams
from worker.contract import Reporter, StageInput, Task
from worker.video.survey.manifest import read_manifest

KEPT = {1, 8, 15, 22}
"""Groups of the few clips: one is tested on, three are trained on."""
GENERATOR = MotionShapesParams(clips_per_group=1, size=32, min_frames=28, max_frames=30)
EXCLUDED = tuple(clip_path(name, group, 1) for name in CLASSES for group in GROUPS if group not in KEPT)
INDEX = IndexParams(dataset="motion_shapes", generator=GENERATOR, splits=(1,), exclude=EXCLUDED)


class Trained(NamedTuple):
    """A finished system: its bundle, the scores that the service keeps of it, and its test clips."""

    bundle: Path
    scores: ScoreFile
    clips: list[Path]


class Runner:
    """Runs planned stages below a folder; equal ones once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.done: dict[str, Task] = {}

    def fetch(self, place: str) -> Path:
        """Return the output of a stage, as the artifact store does."""
        return self._folder / place

    def run(self, spec: ExperimentSpec) -> System:
        stages = plan(spec, INDEX)
        for stage in stages:
            if stage.key not in self.done:
                self.done[stage.key] = self._run(stage.spec, stage.key)
        nodes = {
            stage.key: Node(
                key=stage.key,
                kind=stage.spec.kind,
                label=stage.label,
                params=stage.spec.params,
                inputs={edge.name: edge.key for edge in stage.spec.inputs},
                state="succeeded",
                output=f"{stage.key}/output",
            )
            for stage in stages
        }
        return System(
            experiment="exp_1",
            name=spec.name,
            recipe=None,
            dataset=spec.dataset,
            split=1,
            seed=0,
            spec=spec.model_dump(mode="json"),
            graph=nodes,
            last=stages[-1].key,
            report=(),
        )

    def index(self) -> Path:
        return next(task.output for task in self.done.values() if task.kind == "index")

    def _run(self, spec: Any, key: str) -> Task:
        folder = self._folder / key
        for part in ("output", "state"):
            (folder / part).mkdir(parents=True)
        inputs = (
            StageInput(name=e.name, kind=self.done[e.key].kind, key=e.key, path=self.done[e.key].output)
            for e in spec.inputs
        )
        task = Task(
            key=key,
            kind=spec.kind,
            attempt=1,
            params=spec.params.model_dump(mode="json"),
            inputs=tuple(inputs),
            output=folder / "output",
            state=folder / "state",
            events=folder / "events",
            result=folder / "result",
            data_root=self._folder,
        )
        report = Reporter(task.events)
        try:
            importlib.import_module(f"worker.stages.{spec.kind}").run(task, spec.params, report)
        finally:
            report.close()
        return task


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], Trained]:
    """A function that trains the system of a spec on a few clips and bundles it; equal stages run once."""
    torch.set_num_threads(1)  # tests share the cores
    folder = tmp_path_factory.mktemp("systems")
    runner = Runner(folder)

    def make(changes: dict[str, Any]) -> Trained:
        values = {"name": "system", "dataset": "motion_shapes", "splits": [1], **changes}
        system = runner.run(ExperimentSpec.model_validate(values))
        file = io.BytesIO()
        write_system(file, system, runner)  # type: ignore[arg-type]
        bundle = folder / f"{system.last[:12]}.zip"
        bundle.write_bytes(file.getvalue())
        scores = read_scores(runner.fetch(f"{system.last}/output"))
        manifest = read_manifest(runner.index())
        return Trained(bundle, scores, [manifest.root / manifest.by_id[clip].path for clip in scores.clips])

    return make
