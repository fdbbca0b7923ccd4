"""How fast is TV-L1 of a folder of clips on a CPU, by the `flow` stage, beside one OpenCV process with one thread?

Both decode, compute and quantise; the stage also stores. Goal: at least 0.95 x cores. Give a folder of clips, else the
genuine clips beside the checkout, else generated ones. ``--frames`` cuts clips short, since TV-L1 is slow.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from benchmarks import report
from services.stages import FlowParams
from worker.contract import Reporter, StageInput, Task
from worker.stages import flow
from worker.video.decoding.decode import decode_clip, iterate_frames
from worker.video.flow import quantize
from worker.video.generated.motion_shapes import write_avi
from worker.video.generated.shapes import background, draw_look, render, still
from worker.video.survey.manifest import MANIFEST_FILE, Clip, Manifest

CLIPS = Path(__file__).parents[2] / "shared/data/clips/UCF-101"
PARAMS = FlowParams(algorithm="tvl1", bound=20.0, shard=0, shards=1)
GOAL = 0.95


def short_clips(folder: Path, source: Path, count: int, frames: int) -> Manifest:
    """Write ``count`` clips of at most ``frames`` frames and return their manifest."""
    files = sorted(source.rglob("*.avi"))
    chosen = [files[len(files) * number // count] for number in range(count)] if files else []
    clips = []
    for number in range(count):
        images = decode_clip(chosen[number])[:frames] if chosen else generated(number, frames)
        path = folder / f"{number:02}.avi"
        write_avi(path, images)
        size = {"frames": len(images), "fps": 25.0, "height": images.shape[1], "width": images.shape[2]}
        clips.append(Clip(id=path.stem, path=path.name, label=0, group=None, sha256="", **size))
    manifest = Manifest(dataset="clips", root=folder, classes=("all",), clips=tuple(clips), splits={})
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json())
    kind = "genuine" if chosen else "generated"
    print(f"{count} {kind} clips of {frames} frames, {clips[0].width}x{clips[0].height}")
    return manifest


def generated(number: int, frames: int) -> np.ndarray:
    """Return uint8 (T, 240, 240, 3): a textured shape that slides and turns."""
    rng = np.random.default_rng(number)
    look, steps = draw_look(240, 0.5, rng), np.arange(frames)
    states = still(look, frames)
    states = states._replace(x=states.x + 4.0 * steps, angle=states.angle + 0.05 * steps)
    return render(look, states, background(240, rng))


def opencv(manifest: Manifest, seconds: multiprocessing.Queue[tuple[float, float]]) -> None:
    """Compute the clips one after the other with OpenCV alone, on one thread."""
    cv2.setNumThreads(1)
    start = time.perf_counter()
    method = cv2.optflow.DualTVL1OpticalFlow_create()
    for clip in manifest.clips:
        images = list(iterate_frames(manifest.root / clip.path, "grey"))
        for first, second in pairwise(images):
            quantize(method.calc(first, second, None).transpose(2, 0, 1), PARAMS.bound)
    seconds.put((time.perf_counter() - start, time.process_time()))


def stage(folder: Path, threads: int, seconds: multiprocessing.Queue[tuple[float, float]]) -> None:
    """Compute the clips by the stage."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "output").mkdir()
        (home / "state").mkdir()
        task = Task(
            key="k", kind="flow", attempt=1, params={}, output=home / "output", state=home / "state", threads=threads,
            inputs=(StageInput(name="index", kind="index", key="i", path=folder),),
            events=home / "events", result=home / "result", data_root=home,
        )  # fmt: skip
        with closing(Reporter(task.events)) as reporter:
            flow.run(task, PARAMS, reporter)
    seconds.put((time.perf_counter() - start, time.process_time()))


def timed(target: object, *arguments: object) -> tuple[float, float]:
    """Return the seconds, of the wall's clock and of processors, that a function measures in a process of its own."""
    context = multiprocessing.get_context("spawn")
    seconds = context.Queue()
    process = context.Process(target=target, args=(*arguments, seconds))  # type: ignore[arg-type]
    process.start()
    process.join()
    assert process.exitcode == 0
    wall, processor = seconds.get()
    return float(wall), float(processor)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="?", type=Path, default=CLIPS)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = short_clips(folder, options.clips, options.count, options.frames)
        pairs = sum(clip.frames - 1 for clip in manifest.clips)
        print(f"{report.machine()}; load {os.getloadavg()[0]:.1f}; {pairs} pairs")
        ratios, overheads = [], []
        for number in range(options.rounds):
            (theirs, their_work), (ours, our_work) = timed(opencv, manifest), timed(stage, folder, cores)
            ratios.append(theirs / ours)
            overheads.append(our_work / their_work)
            rates = f"OpenCV {pairs / theirs:5.2f} pairs/s, stage {pairs / ours:5.2f} pairs/s"
            work = f"processor seconds {their_work:.1f} and {our_work:.1f}"
            print(f"round {number}: {rates}, ratio {ratios[-1]:.2f}; {work}", flush=True)
    rounds = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    median = statistics.median(ratios)
    print(f"TV-L1 on {cores} cores: ratios {rounds}; median {median:.2f} = {median / cores:.2f} x cores  (goal {GOAL})")
    rounds = ", ".join(f"{ratio:.3f}" for ratio in overheads)
    print(f"processor time of the stage over OpenCV's: {rounds}; median {statistics.median(overheads):.3f}")


if __name__ == "__main__":
    main()
