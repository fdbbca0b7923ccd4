"""How much does the training loop take over the same loop written bare, and an epoch on cached features over its parts?

    loop      `Loop` on features in memory, against the same steps written bare
    epoch     of UCF101's size, 9,537 clips x 25 x 4,096 on disk, against reading them and bare steps in turn
    scoring   3,783 clips x 25 frames of the same features

Ours and the bare form take turns in one process. A neighbour on the machine can only slow a round down, so that the
best of the rounds counts; the processor time beside it is steadier still.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import report
from services.scores.files import ScoreFile, write_scores
from services.specs import TSLSTM, OptimizerSpec, TrainingSpec
from worker.contract import Reporter
from worker.stages.class_scores import class_scores
from worker.stages.features import StreamFeatures, open_features, write_features
from worker.stages.inputs import SpacedInput
from worker.stages.networks import build_network
from worker.training.batches import BatchSource, TensorSource, epoch_batches
from worker.training.distributed import World
from worker.training.loop import Loop, seed_everything
from worker.video.survey.manifest import Clip

CLIPS, TEST_CLIPS, STEPS, WIDTH, CLASSES, BATCH = 9537, 3783, 25, 4096, 101, 64
IN_MEMORY = 1024
"""Clips of the first comparison, of which more do not make it steadier."""
PART = 256
"""Clips that are written at once; their features repeat, since what they are costs nobody time."""
CLIP_VALUE, RATE, SEED = 5.0, 5e-5, 0  # TS-LSTM's recipe
SPEC = TrainingSpec(
    epochs=1, batch_size=BATCH, optimizer=OptimizerSpec(name="adam", learning_rate=RATE, clip_value=CLIP_VALUE)
)
WITHOUT_CHECKPOINT = SPEC.model_copy(update={"checkpoint_epochs": 2})
"""Of the first comparison: a checkpoint is nothing that bare steps have; that of an epoch on disk is counted."""
PARTS = ("loop", "epoch", "scoring")
POLL_SECONDS = 0.02


class Took(NamedTuple):
    """What an epoch took.

    Attributes:
        wall: seconds.
        processor: seconds, of all threads.
        memory: the most anonymous memory above that at the beginning, in bytes; mapped files are not counted.
    """

    wall: float
    processor: float
    memory: int


def took(work: Callable[[], object]) -> Took:
    """Run something and say what it took."""
    before, peak, over = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not over.wait(POLL_SECONDS):
            peak[0] = max(peak[0], anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    found = time.perf_counter() - wall, time.process_time() - processor
    over.set()
    watcher.join()
    return Took(*found, peak[0])


def anonymous() -> int:
    """Return the bytes of memory that this process has to itself."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no RssAnon in /proc/self/status")


def network() -> nn.Module:
    seed_everything(SEED)
    return build_network(TSLSTM(), CLASSES, (WIDTH,), STEPS)


def ours(source: BatchSource, folder: Path, spec: TrainingSpec = SPEC) -> Callable[[], object]:
    """Return an epoch of our loop, on a fresh network."""
    model = network()
    events = Reporter(folder / "events")
    with tempfile.TemporaryDirectory(dir=folder) as state:
        loop = Loop(model, source, spec, seed=SEED, state=Path(state), report=events, should_stop=bool, world=World())
    return loop.run


def bare(batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> Callable[[], object]:
    """Return an epoch of bare steps, on a fresh network."""
    model = network().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def run() -> None:
        for inputs, labels in batches():
            optimizer.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(model(inputs).logits, labels)
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), CLIP_VALUE)
            optimizer.step()

    return run


def clips(count: int) -> list[Clip]:
    """Return made-up clips."""
    return [
        Clip(
            id=f"c{number:05d}", path=f"c{number:05d}.avi", label=number % CLASSES, group=None, sha256="", frames=30,
            fps=25, width=320, height=240,
        )
        for number in range(count)
    ]  # fmt: skip


def write(folder: Path, listed: list[Clip]) -> None:
    """Write features of clips as `extract` does."""
    part = np.random.default_rng(0).random((PART * STEPS, WIDTH), dtype=np.float32)
    sizes = [min(PART, len(listed) - first) for first in range(0, len(listed), PART)]
    write_features(folder, listed, [STEPS] * len(listed), (part[: size * STEPS] for size in sizes))


def compare(name: str, runs: tuple[Callable[[], Took], Callable[[], Took]], rounds: int, goal: str) -> None:
    """Time two epochs in turn and print their ratio."""
    own, other = zip(*((runs[0](), runs[1]()) for _ in range(rounds)), strict=True)
    wall, floor = (min(found.wall for found in column) for column in (own, other))
    used, least = (min(found.processor for found in column) for column in (own, other))
    memory = max(found.memory for found in own)
    print(
        f"{name:40} ours {wall:7.2f} s, bare {floor:7.2f} s: {wall / floor:5.3f} x  processor {used:7.2f} s,"
        f" {least:7.2f} s: {used / least:5.3f} x  memory {memory / 1e9:4.2f} GB  {goal}",
        flush=True,
    )


def loop_alone(folder: Path, count: int, rounds: int) -> None:
    """Compare on features that lie in memory."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(count, STEPS, WIDTH, generator=generator)
    labels = torch.arange(count) % CLASSES

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in epoch_batches(count, BATCH, SEED, 1):
            own = torch.from_numpy(batch)
            yield inputs[own], labels[own]

    source = TensorSource(inputs, labels, BATCH, SEED, World())
    runs = (lambda: took(ours(source, folder, WITHOUT_CHECKPOINT)), lambda: took(bare(batches)))
    for run in runs:
        run()
    compare(f"loop, {count} clips in memory", runs, rounds, "goal 1.03")


def epoch_on_disk(folder: Path, listed: list[Clip], rounds: int) -> None:
    """Compare on features that lie on disk, opened as the `train` stage does."""
    features = StreamFeatures({"rgb": open_features(folder, listed)}, apart=False)
    labels = torch.tensor([clip.label for clip in listed])
    stored = np.load(folder / "features.npy", mmap_mode="r").reshape(len(listed), STEPS, WIDTH)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in epoch_batches(len(listed), BATCH, SEED, 1):
            yield torch.from_numpy(stored[batch]), labels[torch.from_numpy(batch)]

    def epoch() -> Took:
        def run() -> None:
            ours(SpacedInput(features, labels, torch.device("cpu")).source(SPEC, SEED, World()), folder)()

        return took(run)

    runs = (epoch, lambda: took(bare(batches)))
    compare(f"epoch, {len(listed)} clips on disk", runs, rounds, "goals 1.15, 2 GB")


def scoring(folder: Path, listed: list[Clip], rounds: int) -> None:
    """Time the test of a network on features that lie on disk."""
    model = network().eval()

    def score() -> None:
        features = StreamFeatures({"rgb": open_features(folder, listed)}, apart=False)
        labels = torch.tensor([clip.label for clip in listed])
        views = SpacedInput(features, labels, torch.device("cpu")).views()
        scores = np.concatenate([found.values for found in class_scores(model, views, "probabilities")])
        found = ScoreFile(
            dataset="d", split=1, streams=("rgb",), seed=SEED, classes=tuple(map(str, range(CLASSES))),
            clips=tuple(clip.id for clip in listed), labels=labels.numpy(), scores=scores, kind="probabilities",
        )  # fmt: skip
        write_scores(folder, found)

    found = [took(score) for _ in range(rounds)]
    wall, used = min(each.wall for each in found), min(each.processor for each in found)
    print(f"scoring, {len(listed)} clips on disk: {wall:.2f} s, processor {used:.2f} s  goal 10 s", flush=True)


def main() -> None:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument(
        "--clips", type=int, default=CLIPS, help=f"to train on; at most {TEST_CLIPS} of them are scored"
    )
    parser.add_argument("--in-memory", type=int, default=IN_MEMORY, help="clips of the first comparison")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where 4 GB are free; the system's temporary folder by default")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(report.machine(), f"torch {torch.__version__}, {arguments.threads} threads", sep=", ", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder, listed = Path(name), clips(arguments.clips)
        if "loop" in arguments.parts:
            loop_alone(folder, arguments.in_memory, 2 * arguments.rounds)
        if {"epoch", "scoring"} & set(arguments.parts):
            write(folder, listed)
        if "epoch" in arguments.parts:
            epoch_on_disk(folder, listed, arguments.rounds)
        if "scoring" in arguments.parts:
            scoring(folder, listed[: min(TEST_CLIPS, len(listed))], arguments.rounds)


if __name__ == "__main__":
    main()
