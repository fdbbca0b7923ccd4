"""Do networks that were trained on labels alone look at the action? Tubes on `motion_shapes`, against the true ones.

Plans an experiment for each network, all on the same features, and runs the stages in this process, each once: no
server is needed. Prints what the `localize` stages found: video mAP and recall by IoU, as a floor those of the middle
of the frame with the same class scores, and as a ceiling the recall of attention that covers what the true boxes cover.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import report
from benchmarks.order import ATTENTION, TRAINING
from services.datasets.motion_shapes import MotionShapesParams
from services.datasets.tubes import Coordinates, Tube
from services.planning.plan import plan
from services.planning.planned import PlannedStage
from services.recipes import resolve
from services.specs import ExperimentSpec
from services.stages import IndexParams
from worker.contract import STAGES, Reporter, StageInput, Task
from worker.localization.metrics import Detection, recall
from worker.localization.saliency import saliency
from worker.localization.tubes import candidates, follow
from worker.video.generated.boxes import motion_shapes_boxes
from worker.video.generated.motion_shapes import CLASSES, TEST_GROUPS, clip_path

Json = dict[str, Any]

NETWORKS: dict[str, Json] = {
    "VideoLSTM": {"kind": "video_lstm", **ATTENTION},
    "ConvALSTM": {"kind": "conv_alstm", **ATTENTION},
    "ALSTM": {"kind": "alstm", **ATTENTION},
}
CELLS = 4
"""Rows and columns of the maps of the backbone `tiny`."""
SHOWN = ("0.05", "0.1", "0.2", "0.3", "0.5")


def spec(name: str, threshold: float, smoothing: int, epochs: int) -> ExperimentSpec:
    """Return the demo's backbone and flow on split 1, all of a frame, and a network with its tubes."""
    localization = {"threshold": threshold, "smoothing": smoothing}
    body: Json = {
        "recipe": "demo_ts_lstm",
        "name": name,
        "splits": [1],
        "model": NETWORKS[name],
        "training": TRAINING | {"epochs": epochs},
        "evaluation": {"frames": 25, "crops": "stretch", "localization": localization},
    }
    found, _ = resolve(body)
    return found


class Runner:
    """Runs planned stages below a folder, in their order, each once."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._done: dict[str, StageInput] = {}
        self.summaries: dict[str, Json] = {}

    def run(self, stages: tuple[PlannedStage, ...]) -> None:
        """Run those of an experiment's stages that no earlier one had."""
        for stage in stages:
            if stage.key not in self._done:
                began = time.monotonic()
                self._done[stage.key] = self._run(stage)
                print(f"{stage.label}: {time.monotonic() - began:.1f} s", flush=True)

    def _run(self, stage: PlannedStage) -> StageInput:
        home = self._folder / stage.key
        for part in ("output", "state"):
            (home / part).mkdir(parents=True)
        edges = [self._done[edge.key].model_copy(update={"name": edge.name}) for edge in stage.spec.inputs]
        task = Task(
            key=stage.key,
            kind=stage.spec.kind,
            attempt=1,
            params=stage.spec.params.model_dump(mode="json"),
            inputs=tuple(edges),
            output=home / "output",
            state=home / "state",
            events=home / "events",
            result=home / "result",
            data_root=self._folder / "data",
            threads=self._threads,
        )
        events = Reporter(task.events)
        try:
            module = importlib.import_module(STAGES[stage.spec.kind])
            self.summaries[stage.key] = module.run(task, stage.spec.params, events)
        finally:
            events.close()
        return StageInput(name="", kind=task.kind, key=task.key, path=task.output)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="networks")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--thresholds", nargs="*", type=float, default=[100.0], help="of saliency, 0 to 255")
    parser.add_argument("--smoothing", nargs="*", type=int, default=[1, 25], help="frames")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    index = IndexParams(dataset="motion_shapes", generator=MotionShapesParams())
    print(report.machine())
    for threshold in arguments.thresholds:
        found = ceiling(index.generator or MotionShapesParams(), threshold)
        print(
            f"ceiling, threshold {threshold:g}:"
            + "".join(f"  {iou}: {100 * found[float(iou)]:6.2f} %" for iou in SHOWN)
        )
    with tempfile.TemporaryDirectory(prefix="twostream-bench-") as folder:
        runner = Runner(Path(folder), arguments.threads)
        for name in arguments.only:
            for threshold in arguments.thresholds:
                for smoothing in arguments.smoothing:
                    stages = plan(spec(name, threshold, smoothing, arguments.epochs), index)
                    runner.run(stages)
                    (found,) = [runner.summaries[stage.key] for stage in stages if stage.spec.kind == "localize"]
                    (top1,) = [runner.summaries[stage.key]["top1"] for stage in stages if stage.spec.kind == "score"]
                    show(f"{name}, threshold {threshold:g}, smoothing {smoothing}", found, top1)


def ceiling(params: MotionShapesParams, threshold: float) -> dict[float, float]:
    """Return the recall of boxes from maps of the backbone's size that say how much of each cell the truth covers."""
    ids = [
        clip_path(name, group, number).removesuffix(".avi")
        for name in CLASSES
        for group in TEST_GROUPS[1]
        for number in range(1, params.clips_per_group + 1)
    ]
    truths = {name: clip.tubes for name, clip in motion_shapes_boxes(params, ids).clips.items()}
    found = []
    for name, (truth,) in truths.items():
        values = saliency(torch.from_numpy(covered(truth.boxes, params.size)), params.size, params.size)
        peaks = values.flatten(1).argmax(1).tolist()
        frames = [
            candidates(salient, divmod(peak, params.size))
            for salient, peak in zip((values >= threshold).numpy(), peaks, strict=True)
        ]
        found.append(Detection(name, 1.0, Tube(truth.label, 0, follow(frames))))
    return recall(found, truths, [float(iou) for iou in SHOWN])


def covered(boxes: Coordinates, size: int) -> Coordinates:
    """Return the area of each of 4x4 cells that boxes ``(T, 4)`` cover, ``(T, 4, 4)``, as shares of the whole."""
    first = np.arange(CELLS) * size / CELLS
    sides = [
        np.minimum(boxes[:, axis, None] + boxes[:, axis + 2, None], first + size / CELLS)
        - np.maximum(boxes[:, axis, None], first)
        for axis in (1, 0)
    ]
    down, across = (np.maximum(side, 0.0) for side in sides)
    areas = down[:, :, None] * across[:, None, :]
    shares: Coordinates = areas / areas.sum((1, 2), keepdims=True)
    return shares


def show(label: str, found: Json, top1: float) -> None:
    """Print what one network found."""
    print(f"{label}: {found['boxed']} clips, {found['tubes']} tubes, top-1 {100 * top1:.2f} %")
    for line in ("map", "recall", "centre_map", "centre_recall"):
        print(f"  {line:<14}" + "".join(f"  {iou}: {100 * found[line][iou]:6.2f} %" for iou in SHOWN), flush=True)


if __name__ == "__main__":
    main()
