"""The `flow` stage: quantised optical flow of one shard of a dataset's clips, one file each, resumable clip by clip."""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.stages import FlowParams
from worker.task import Reporter, Task, write_atomically
from worker.video.decode import DecodeFailed, iterate_frames
from worker.video.flow import optical_flow, quantize
from worker.video.manifest import Clip, read_manifest

CLIPS_FILE = "clips.json"


def run(task: Task, params: FlowParams, report: Reporter) -> dict[str, Any]:
    """Write ``<clip id>.npy``, uint8 (T - 1, 2, H, W), for each clip of the shard, and their frames in ``clips.json``.

    A finished clip lies in ``task.state`` and is not computed again by a later attempt. Clips run in parallel, each on
    one thread; bytes do not depend on the number of threads.

    Returns:
        How many clips were computed now, found finished, and how many flow fields the shard has.

    Raises:
        DataError: a clip does not decode, has another frame count than the manifest says, or only one frame.
    """
    cv2.setNumThreads(1)  # parallel over clips, which scales better than inside a pair of small frames
    manifest = read_manifest(task.input("index").path)
    clips = manifest.clips[params.shard :: params.shards]
    finished = [clip for clip in clips if _file(task.state, clip).exists()]
    missing = [clip for clip in clips if not _file(task.state, clip).exists()]
    report.progress(len(finished), len(clips), "clips")
    for done, _ in enumerate(_compute(task, params, manifest.root, missing), start=len(finished) + 1):
        report.progress(done, len(clips), "clips")
    for clip in clips:
        _publish(_file(task.state, clip), _file(task.output, clip))
    frames = {clip.id: clip.frames for clip in clips}
    write_atomically(task.output / CLIPS_FILE, json.dumps(frames, sort_keys=True, indent=1).encode())
    fields = sum(frames.values()) - len(clips)
    return {"clips": len(clips), "computed": len(missing), "found_finished": len(finished), "fields": fields}


def _file(folder: Path, clip: Clip) -> Path:
    return folder / f"{clip.id}.npy"


def _compute(task: Task, params: FlowParams, root: Path, clips: list[Clip]) -> Iterator[Clip]:
    """Yield clips as their files are written; the first failure stops the others."""
    stop = threading.Event()
    with ThreadPoolExecutor(task.threads) as pool:
        futures = [pool.submit(_store, root, clip, params, _file(task.state, clip), stop) for clip in clips]
        try:
            for clip, future in zip(clips, futures, strict=True):
                future.result()
                yield clip
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _store(root: Path, clip: Clip, params: FlowParams, file: Path, stop: threading.Event) -> None:
    fields = _flow_of(root / clip.path, clip, params, stop)
    if fields is None:
        return
    content = io.BytesIO()
    np.save(content, fields)
    write_atomically(file, content.getvalue())


def _flow_of(path: Path, clip: Clip, params: FlowParams, stop: threading.Event) -> NDArray[np.uint8] | None:
    """Return uint8 (T - 1, 2, H, W), or None when another clip's failure has stopped the shard."""
    if clip.frames < 2:
        raise DataError(f"{path}: flow needs 2 frames, the clip has {clip.frames}")
    fields = np.empty((clip.frames - 1, 2, clip.height, clip.width), np.uint8)
    number = 0
    for number, field in enumerate(optical_flow(iterate_frames(path, "grey"), params.algorithm), start=1):
        if stop.is_set():
            return None
        if number < clip.frames:
            fields[number - 1] = quantize(field, params.bound)
    if number != clip.frames - 1:
        raise DecodeFailed(path, number, f"the manifest has {clip.frames} frames, {number + 1} decode")
    return fields


def _publish(finished: Path, output: Path) -> None:
    """Link a finished file into the output, or copy it where the two folders lie on different disks."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(finished, output)
    except OSError:
        shutil.copyfile(finished, output)
