"""How many loader processes a stage has: idle cores, and no more than their samples fit into shared memory."""

from __future__ import annotations

from services.params import FlowMethodParams
from worker.contract import Task

LOADER_BYTES = 4 << 30
"""Of samples that loaders hold ready; Docker's shared memory is 8 GB in the compose file."""
PREFETCH = 2  # samples, or batches, that each process reads ahead: DataLoader's own number


def loader_workers(task: Task, flow: FlowMethodParams | None, item_bytes: int) -> int:
    """Return the number of loader processes of one process that computes.

    Without a GPU there is no core to spare; flow on the fly is computed where the GPU is.

    Args:
        task: says device and threads.
        flow: how stacks are computed on the fly, if they are.
        item_bytes: of what a loader hands over at once: a batch, or a sample where those are not batched.
    """
    if task.device == "cpu" or flow is not None:
        return 0
    return max(1, min(task.threads - 1, LOADER_BYTES // (PREFETCH * item_bytes)))
