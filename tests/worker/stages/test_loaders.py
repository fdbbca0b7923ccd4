"""Loader processes: idle cores, and no more than shared memory has room for."""

from typing import Any

import pytest

from services.params import FlowMethodParams
from worker.stages.loaders import LOADER_BYTES, loader_workers


@pytest.mark.parametrize(
    ("device", "flow", "item_bytes", "expected"),
    [
        ("cpu", None, 1, 0),
        ("cuda:0", None, 1, 7),
        ("cuda:0", FlowMethodParams(algorithm="tvl1", bound=20), 1, 0),
        ("cuda:0", None, LOADER_BYTES // 6, 3),
        ("cuda:0", None, LOADER_BYTES, 1),
    ],
)
def test_loader_workers(stages: Any, device: str, flow: Any, item_bytes: int, expected: int) -> None:
    params = {"dataset": "d", "split": 1, "seed": 0, "method": "features", "weights": {}}
    task = stages.task("fuse", params, ()).model_copy(update={"device": device, "threads": 8})
    assert loader_workers(task, flow, item_bytes) == expected
