"""What does stored flow cost in bytes, error and time, for each codec? Genuine clips, or else generated ones."""

from __future__ import annotations

import sys
import tempfile
import time
import zlib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.flow_cpu import CLIPS, generated
from services.specs import FlowAlgorithm
from worker.video.decoding.decode import FrameReader
from worker.video.flow import estimator, open_flow, quantize
from worker.video.flow.quantization import LEVELS
from worker.video.flow.storage import encode_flow

BOUND, NUM_CLIPS, NUM_PAIRS, STACK = 20.0, 6, 5, 10
CODECS = (("raw", 0), ("png", 0), ("jpeg", 95), ("jpeg", 90), ("jpeg", 75))
UCF101_FRAMES = 2_430_000
Fields = NDArray[np.uint8]


def all_fields(algorithm: FlowAlgorithm) -> list[Fields]:
    """Return the quantised fields, uint8 (L, 2, H, W), of some frames from the middle of some clips."""
    files, estimate, clips = sorted(CLIPS.rglob("*.avi")), estimator(algorithm), []
    for number in range(NUM_CLIPS):
        if files:
            frames = FrameReader().read(files[len(files) * number // NUM_CLIPS], range(20, 21 + NUM_PAIRS), "grey")
        else:
            frames = np.stack([image.mean(axis=-1).astype(np.uint8) for image in generated(number, NUM_PAIRS + 1)])
        clips.append(quantize(np.stack([estimate(*pair) for pair in pairwise(frames)]), BOUND))
    print(f"{algorithm}: {NUM_CLIPS} {'genuine' if files else 'generated'} clips x {NUM_PAIRS} fields", flush=True)
    return clips


def measure(clips: list[Fields], codec: str, quality: int, folder: Path) -> None:
    """Print one row of the table; the first clip is coded once before, since a codec's first use costs more."""
    size, write, read, errors = 0, 0.0, 0.0, []
    (folder / "clip").write_bytes(encode_flow(clips[0], codec, quality or 95))  # type: ignore[arg-type]
    open_flow(folder / "clip")[[0]]
    for fields in clips:
        start = time.process_time()
        content = encode_flow(fields, codec, quality or 95)  # type: ignore[arg-type]
        write += time.process_time() - start
        (folder / "clip").write_bytes(content)
        size += len(content)
        start = time.process_time()
        found = open_flow(folder / "clip")[np.arange(len(fields))]
        read += time.process_time() - start
        errors.append(np.abs(found.astype(int) - fields).mean() * 2 * BOUND / LEVELS)
    count = sum(map(len, clips))
    row(f"{codec} {quality or ''}", size / count, float(np.mean(errors)), write / count, read / count)


def row(name: str, size: float, error: float, write: float, read: float) -> None:
    """Print bytes a field, mean error in pixels, processor milliseconds a field, and UCF101's size (derived)."""
    times = f"{write * 1000:.2f} ms | {read * 1000:.2f} ms"
    total = size * UCF101_FRAMES / 1e9
    print(f"| {name:14} | {size / 1000:7.1f} kB | {error:.4f} px | {times} | {total:6.0f} GB |", flush=True)


def rivals(clips: list[Fields]) -> None:
    """Print lossless codecs that were not chosen."""
    fields = np.concatenate(clips)
    pictures = [np.ascontiguousarray(field.reshape(-1, field.shape[-1])) for field in fields]
    start = time.process_time()
    deflated = [zlib.compress(np.diff(picture, axis=1, prepend=np.uint8(0)).tobytes(), 6) for picture in pictures]
    middle = time.process_time()
    for content in deflated:
        zlib.decompress(content)
    times = (middle - start, time.process_time() - middle)
    row("zlib 6 (rival)", sum(map(len, deflated)) / len(fields), 0.0, *(value / len(fields) for value in times))
    start = time.process_time()
    webp = [cv2.imencode(".webp", cv2.merge([p] * 3), [cv2.IMWRITE_WEBP_QUALITY, 101])[1] for p in pictures]
    middle = time.process_time()
    for encoded in webp:
        cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    times = (middle - start, time.process_time() - middle)
    row("webp (rival)", sum(map(len, webp)) / len(fields), 0.0, *(value / len(fields) for value in times))


def main() -> None:
    """Print the tables."""
    cv2.setNumThreads(1)
    print(report.machine())
    for algorithm in sys.argv[1:] or ["tvl1", "farneback", "dis"]:
        clips = all_fields(algorithm)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as folder:
            for codec, quality in CODECS:
                measure(clips, codec, quality, Path(folder))
        rivals(clips)


if __name__ == "__main__":
    main()
