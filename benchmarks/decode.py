"""How long do 25 frames of a clip, and TSN's 3 snippets, take to a resized tensor, against what one can install?

Every system gives the same frames, uint8 (N, 3, 224, 224), in one process, with one thread and, where it can, with as
many as there are cores. Each decodes in its own way and all resize by the same call, which uses torch's threads, so
that its tolerance is none; the frames before the resize are compared with a full decode by PyAV, and the clips whose
frames are others are counted. Rivals that are not installed are named and left out.

Ours is read again and again, as training does, and remembers where a clip's packets lie; "first reading" is what it
costs before. The floor is FFmpeg decoding the packets that are needed, nothing converted, and the resize alone. The
machine should be quiet: systems take turns, each with all clips one after another as a loader reads them, and of each
clip the best round counts.

Usage: ``python -m benchmarks.decode [FOLDER]``, by default the genuine clips beside the checkout.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.video.decoding.container import Container
from worker.video.decoding.decode import FrameReader, decode_clip
from worker.video.decoding.order import Packet, pictures
from worker.video.input.crops import stretch
from worker.video.input.protocols import segment_centres, ticks
from worker.video.survey.inspection import ClipInfo, probe_clip

CLIPS = Path(__file__).parents[2] / "shared/data/clips/UCF-101"
ROUNDS, LIMIT = 5, 18
CORES = os.cpu_count() or 1
SAME = 2.0  # mean difference in levels of 255 up to which two conversions to rgb show the same frames
Frames = NDArray[np.uint8]
Decoder = Callable[[Path, list[int], ClipInfo], Frames]


class Job(NamedTuple):
    """Frames of a clip to decode."""

    path: Path
    frames: list[int]
    info: ClipInfo


READERS = {threads: FrameReader(threads=threads) for threads in (1, CORES)}


def ours(path: Path, frames: list[int], info: ClipInfo, threads: int = CORES) -> Frames:
    return READERS[threads].read(path, frames, paired=info.paired)


def first_reading(path: Path, frames: list[int], info: ClipInfo) -> Frames:
    return FrameReader(threads=CORES).read(path, frames, paired=info.paired)


def plain_pyav(path: Path, frames: list[int], _: ClipInfo) -> Frames:
    wanted, images = set(frames), {}
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
            if number == frames[-1]:
                break
    return np.stack([images[number] for number in frames])


def pyav_threads(path: Path, frames: list[int], _: ClipInfo) -> Frames:
    wanted, images = set(frames), {}
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                images[number] = frame.to_ndarray(format="rgb24")
            if number == frames[-1]:
                break
    return np.stack([images[number] for number in frames])


def opencv(path: Path, frames: list[int], _: ClipInfo) -> Frames:
    wanted, images = set(frames), {}
    capture = cv2.VideoCapture(str(path))
    for number in range(frames[-1] + 1):
        capture.grab()
        if number in wanted:
            images[number] = cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)
    capture.release()
    return np.stack([images[number] for number in frames])


def decord(path: Path, frames: list[int], _: ClipInfo) -> Frames:
    reader = importlib.import_module("decord").VideoReader(str(path))
    images: Frames = reader.get_batch(frames).asnumpy()
    return images


def torchcodec(path: Path, frames: list[int], _: ClipInfo, seek_mode: str = "exact", threads: int = 1) -> Frames:
    """Decode as torchvision's datasets do on TorchCodec; ``approximate`` believes the header instead of looking."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), dimension_order="NHWC", seek_mode=seek_mode, num_ffmpeg_threads=threads)
    images: Frames = decoder.get_frames_at(frames).data.numpy()
    return images


SYSTEMS: dict[str, Decoder] = {
    "ours": ours,
    "ours, one thread": partial(ours, threads=1),
    "ours, first reading": first_reading,
    "torchcodec": torchcodec,
    "torchcodec, approximate": partial(torchcodec, seek_mode="approximate"),
    "torchcodec, approximate, all cores": partial(torchcodec, seek_mode="approximate", threads=CORES),
    "decord": decord,
    "plain PyAV": plain_pyav,
    "PyAV, all cores": pyav_threads,
    "OpenCV": opencv,
}


def usable() -> dict[str, Decoder]:
    """Return the systems that load here; say why one does not."""
    found = {}
    for name, decoder in SYSTEMS.items():
        try:
            if name.startswith("torchcodec"):
                importlib.import_module("torchcodec.decoders")
            elif name == "decord":
                importlib.import_module(name)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name}: left out, does not load: {str(error).splitlines()[0]}")
        else:
            found[name] = decoder
    return found


def tensor(images: Frames) -> Tensor:
    return stretch(torch.from_numpy(images).permute(0, 3, 1, 2))


class Cost(NamedTuple):
    """Milliseconds a clip by the wall and of processor time, and clips whose frames are others than a full decode's."""

    wall: float
    cpu: float
    wrong: int


def measure(systems: dict[str, Decoder], jobs: list[Job]) -> dict[str, Cost]:
    """Run all systems in turn over all clips; of each clip the best of some rounds, then the mean over clips."""
    wrong = dict.fromkeys(systems, 0)
    for job in jobs:
        whole = decode_clip(job.path)[job.frames].astype(int)
        for name, decoder in systems.items():
            wrong[name] += int(np.abs(decoder(job.path, job.frames, job.info) - whole).mean() > SAME)
    rounds = [{name: [timed(decoder, job) for job in jobs] for name, decoder in systems.items()} for _ in range(ROUNDS)]
    best = {name: np.min([one[name] for one in rounds], axis=0).mean(axis=0) for name in systems}
    return {name: Cost(float(wall), float(cpu), wrong[name]) for name, (wall, cpu) in best.items()}


def timed(decoder: Decoder, job: Job) -> tuple[float, float]:
    """Return milliseconds by the wall and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    tensor(decoder(job.path, job.frames, job.info))
    return 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)


def floor(jobs: list[Job]) -> tuple[float, float]:
    """Return milliseconds of processor time that decoding the needed packets and resizing take, the mean over clips."""
    decoding, resizing = [], []
    for job in jobs:
        with Container(job.path) as container:
            extradata = container.stream.codec_context.extradata
            known = pictures(container.codec, extradata, [packet for packet in container.demux() if packet.size])
        assert known is not None
        runs = known.structure.runs(known.structure.order[number] for number in job.frames)
        needed = [known.packets[number] for run in runs for number in run]
        images = np.zeros((len(job.frames), job.info.height, job.info.width, 3), np.uint8)
        decode, resize = partial(bare, job.info.codec, extradata, needed), partial(tensor, images)
        decoding.append(min(spent(decode) for _ in range(ROUNDS)))
        resizing.append(min(spent(resize) for _ in range(ROUNDS)))
    return float(np.mean(decoding)), float(np.mean(resizing))


def bare(codec: str, extradata: bytes | None, packets: list[Packet]) -> None:
    context: Any = av.CodecContext.create(codec, "r")
    context.extradata, context.thread_count = extradata, 1
    for packet in [*packets, None]:
        context.decode(packet)


def spent(work: Callable[[], object]) -> float:
    """Return milliseconds of processor time."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main(arguments: list[str]) -> None:
    """Print milliseconds a clip of every system, and the ratio of the fastest rival to us."""
    paths = sorted(Path(arguments[0] if arguments else CLIPS).rglob("*.avi"))
    step = max(1, len(paths) // LIMIT)
    clips = [(path, probe_clip(path)) for path in paths[::step][:LIMIT]]
    systems = usable()
    print(f"{len(clips)} clips, {torch.get_num_threads()} threads, best of {ROUNDS} rounds, mean over clips")
    for title, choose in (
        ("25 frames", lambda length: ticks(length, 25, 1)),
        ("3 snippets", lambda length: segment_centres(length, 3, 1)),
    ):
        jobs = [Job(path, choose(info.frames).tolist(), info) for path, info in clips]
        costs = measure(systems, jobs)
        for name, cost in costs.items():
            print(f"{title}, {name}: {cost.wall:.2f} ms, {cost.cpu:.2f} ms of processor, {cost.wrong} clips wrong")
        for measured in ("wall", "cpu"):
            rivals = {name: getattr(cost, measured) for name, cost in costs.items() if not name.startswith("ours")}
            fastest = min(rivals, key=lambda name: rivals[name])
            own = getattr(costs["ours" if measured == "wall" else "ours, one thread"], measured)
            print(f"{title}, {measured}: {rivals[fastest] / own:.2f} x the fastest rival, {fastest}")
        decoding, resizing = floor([job for job in jobs if job.info.paired])
        share = (decoding + resizing) / costs["ours, one thread"].cpu
        print(f"{title}, floor: {decoding:.2f} ms decoding, {resizing:.2f} ms resizing, {share:.2f} of ours")


if __name__ == "__main__":
    main(sys.argv[1:])
