"""Rank processes that do what a test tells them: a scripted stage in place of every kind."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.params import SpacedFeatures
from services.specs import TSLSTM, TrainingSpec
from services.stages import IndexParams, TrainParams
from worker.contract import Task
from worker.host.forkserver import ForkServer

SCRIPTED = Path(__file__).parent / "scripted"
PATIENCE_SECONDS = 120.0
"""Longer than anything takes that a test waits for, on a machine that is busy with other things."""
Until = Callable[[Callable[[], object]], None]
SCRIPTED_STAGES = {"index": "scripted_stage", "train": "scripted_stage"}
TRAIN = TrainParams(split=1, streams=("rgb",), seed=0, model=TSLSTM(), training=TrainingSpec(), input=SpacedFeatures())


def pixels(levels: NDArray[np.uint8], bound: float) -> NDArray[np.float32]:
    """Motion as the linear map's bytes have it, in pixels; off by at most bound / 255."""
    return (levels.astype(np.float32) * (2 * bound / 255) - bound).astype(np.float32)


@contextmanager
def stages_from(folder: Path = SCRIPTED, **stages: str) -> Iterator[None]:
    """Have the processes that start meanwhile run modules of a test in place of the stages of some kinds.

    Args:
        folder: of the modules.
        stages: name of the module by kind; those of ``SCRIPTED_STAGES`` when none is given.
    """
    with pytest.MonkeyPatch.context() as patch:
        path = [str(folder), str(SCRIPTED), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.setenv("PYTHON_STAGES", json.dumps(stages or SCRIPTED_STAGES))
        yield


@pytest.fixture(scope="module")
def light() -> Iterator[ForkServer]:
    """A fork server without torch that runs the scripted stage."""
    server = ForkServer("light")
    with stages_from():
        server.start()
        yield server
        server.close()


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes the task file of a script: a name for ``index``, none for ``train``."""

    def make(script: str | None = None, **changes: Any) -> Path:
        params = TRAIN if script is None else IndexParams(dataset=script)
        folder = tmp_path / f"task{len(list(tmp_path.iterdir()))}"
        for name in ("output", "state"):
            (folder / name).mkdir(parents=True)
        values: dict[str, Any] = {
            "key": "0" * 64,
            "kind": "train" if script is None else "index",
            "attempt": 1,
            "params": params.model_dump(mode="json"),
            "inputs": (),
            "output": folder / "output",
            "state": folder / "state",
            "events": folder / "events.jsonl",
            "result": folder / "result.json",
            "data_root": folder,
        }
        file = folder / "task.json"
        file.write_text(Task(**(values | changes)).model_dump_json())
        return file

    return make


@pytest.fixture
def until() -> Until:
    """A function that waits for a condition."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    return wait


class Clock:
    """A clock whose hands can be moved forward."""

    ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_seconds


@pytest.fixture
def gone() -> Callable[[int], bool]:
    """A function that says whether a process has ended (a zombie that nobody reaps has)."""

    def has_ended(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
        except (FileNotFoundError, ProcessLookupError):
            return True

    return has_ended
