"""The `flow` stage: quantised optical flow of one shard by OpenCV's algorithms, one file a clip."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.stages import FlowParams
from worker.contract import Reporter, Task
from worker.stages.flow_shard import Shard
from worker.video.decoding.decode import iterate_frames
from worker.video.flow import optical_flow, quantize
from worker.video.flow.opencv import SMALLEST_SIDE
from worker.video.survey.manifest import Clip


def run(task: Task, params: FlowParams, report: Reporter) -> dict[str, Any]:
    """Write the flow of each clip of the shard, uint8 (T - 1, 2, H, W), and what is known of it in ``flow.json``.

    A file is named by the clip's id, with ``.npy`` for the codec ``raw`` and else ``.flow``. What an earlier attempt
    finished is not computed again. Clips run in parallel, each on one thread; bytes do not depend on the number of
    threads.

    Returns:
        How many clips were computed now, found finished, how many flow fields the shard has, and the share of saturated
        pixels.

    Raises:
        DataError: a clip does not decode, has another frame count than the manifest says, only one frame, frames that
            are too small for the algorithm or too large, or flow that takes too much memory.
    """
    cv2.setNumThreads(1)  # parallel over clips, which scales better than inside a pair of small frames
    shard = Shard(task, params)
    return shard.run(lambda clips: _compute(shard, clips), report)


def _compute(shard: Shard, clips: list[Clip]) -> Iterator[Clip]:
    """Yield clips as their files are written; the first failure stops the others."""
    stop = threading.Event()
    with ThreadPoolExecutor(shard.task.threads) as pool:
        futures = [pool.submit(_store, shard, clip, stop) for clip in _longest_first(clips)]
        try:
            for future in as_completed(futures):  # a long clip hides no shorter one that is done
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _longest_first(clips: list[Clip]) -> list[Clip]:
    """Order clips so that no thread begins a long one when the others are done."""
    return sorted(clips, key=lambda clip: clip.frames * clip.width * clip.height, reverse=True)


def _store(shard: Shard, clip: Clip, stop: threading.Event) -> Clip:
    fields = _flow_of(shard, clip, stop)
    return clip if fields is None else shard.store(clip, fields)


def _flow_of(shard: Shard, clip: Clip, stop: threading.Event) -> NDArray[np.uint8] | None:
    """Return uint8 (T - 1, 2, H, W), or None when another clip's failure has stopped the shard."""
    path, params = shard.path(clip), shard.params
    least = SMALLEST_SIDE.get(params.algorithm, 1)
    if min(clip.width, clip.height) < least:
        raise DataError(
            f"{path}: flow by {params.algorithm} needs frames of {least}x{least} pixels or more, the clip's are "
            f"{clip.width}x{clip.height}"
        )
    fields = np.empty(shard.shape(clip), np.uint8)
    frames = iterate_frames(path, "grey", short_side=params.resize, limits=shard.limits)
    number = 0
    for number, field in enumerate(optical_flow(frames, params.algorithm), start=1):
        if stop.is_set():
            return None
        if number < clip.frames:
            fields[number - 1] = quantize(field, params.bound, params.quantization)
    shard.check(clip, number + 1)
    return fields
