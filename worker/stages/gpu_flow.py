"""The `gpu_flow` stage: quantised optical flow of one shard in batches of frame pairs, by our TV-L1, Brox or RAFT."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.stages import FlowParams
from worker.contract import Reporter, Task
from worker.stages.flow_shard import Shard
from worker.video.decoding.decode import decode_clip
from worker.video.flow import batched
from worker.video.flow.batched import ClipFlow
from worker.video.survey.manifest import Clip


def run(task: Task, params: FlowParams, report: Reporter) -> dict[str, Any]:
    """Write the flow of each clip of the shard as the `flow` stage does; ``task.device`` computes it.

    Threads decode the next clips and encode the last ones meanwhile. A clip's bytes do not depend on the others.

    Returns:
        How many clips were computed now, found finished, how many flow fields the shard has, and the share of saturated
        pixels.

    Raises:
        DataError: a clip does not decode, has another frame count than the manifest says, only one frame, or frames
            that are too large or take too much memory.
        UserError: RAFT's weights cannot be read.
    """
    shard = Shard(task, params)
    flow = batched.build(params, torch.device(task.device))
    return shard.run(lambda clips: _compute(shard, flow, clips), report)


def _compute(shard: Shard, flow: ClipFlow, clips: list[Clip]) -> Iterator[Clip]:
    """Yield clips as their files are written, in their order."""
    ahead = shard.task.threads + 1
    written: deque[Future[Clip]] = deque()
    with ThreadPoolExecutor(shard.task.threads) as pool:
        decoded = deque(pool.submit(_decode, shard, flow, clip) for clip in clips[:ahead])
        try:
            for number, clip in enumerate(clips):
                frames = decoded.popleft().result()
                if number + ahead < len(clips):
                    decoded.append(pool.submit(_decode, shard, flow, clips[number + ahead]))
                written.append(pool.submit(shard.store, clip, flow.fields(frames)))
                while written and (len(written) > ahead or written[0].done()):
                    yield written.popleft().result()
            for future in written:
                yield future.result()
        finally:
            for waiting in decoded:
                waiting.cancel()


def _decode(shard: Shard, flow: ClipFlow, clip: Clip) -> NDArray[np.uint8]:
    frames = decode_clip(shard.path(clip), flow.colour, short_side=shard.params.resize, limits=shard.limits)
    shard.check(clip, len(frames))
    return frames
