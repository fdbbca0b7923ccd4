"""A stage that does what its parameters say; imported by real rank processes, never by a test itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services.errors import DataError, UserError
from services.params import Params
from services.stages import IndexParams
from worker.contract import Reporter, Task
from worker.training.interrupt import Interrupted, interrupt

LONG_SECONDS = 300
"""Stands for work without end: longer than any test waits, and short enough to leave nothing behind if a test fails."""
BUSY_SECONDS = 9.0
IMPORTED_BY = os.getpid()
STEP_SECONDS = 0.01
"""Stands for a step of training, and for the time between two looks for a file by which a test says to go on."""


def run(task: Task, params: Params, report: Reporter) -> dict[str, Any]:
    report.progress(0, 2, message="began")
    if isinstance(params, IndexParams):
        return SCRIPTS[params.dataset](task, report) or {}
    return train(task, report)


def train(task: Task, report: Reporter) -> dict[str, Any]:
    """Like a training loop: writes a checkpoint and stops when it is asked to."""
    (task.state / f"pid{os.environ.get('RANK', '0')}").write_text(str(os.getpid()))
    while not interrupt.requested:
        time.sleep(STEP_SECONDS)  # a step of training
    (task.state / "checkpoint.pt").write_text("weights")
    report.checkpoint(epoch=3, step=42)
    raise Interrupted("asked to stop at step 42")


def look(task: Task, report: Reporter) -> dict[str, Any]:
    """Tell what a stage sees."""
    return {
        "torch": "torch" in sys.modules,
        "environment": dict(os.environ),
        "temporary": tempfile.gettempdir(),
        "threads": threading.active_count(),
        "leader": os.getpid() == os.getpgid(0) == os.getsid(0),
        "oom_score": int(Path("/proc/self/oom_score_adj").read_text()),
        "parent": os.getppid(),
        "imported_by": IMPORTED_BY,
        "sockets": sum(file.is_socket() for file in Path("/proc/self/fd").iterdir()),
    }


def metrics(task: Task, report: Reporter) -> None:
    for epoch in range(1, 6):
        report.metrics(epoch, {"train_loss": 1 / epoch})
    report.progress(2, 2)
    print("said on standard output")


def sleep(task: Task, report: Reporter) -> None:
    time.sleep(LONG_SECONDS)


def compute(task: Task, report: Reporter) -> None:
    """Take processor time and say nothing, in a process of its own, for longer than a test's limit of stillness."""
    code = f"import time\nend = time.monotonic() + {BUSY_SECONDS}\nwhile time.monotonic() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


def talk(task: Task, report: Reporter) -> None:
    """Say something now and then, and do nothing else, for as long."""
    for number in range(int(BUSY_SECONDS)):
        report.metrics(number, {"train_loss": 1.0})
        time.sleep(1)  # stands for a wait that is no hanging


def parts(task: Task, report: Reporter) -> None:
    """Like flow: a checkpoint now and then, and finished work that no checkpoint has told of yet."""
    (task.state / "first").write_text("1")
    report.checkpoint(clips=1)
    while not (task.state / "go").exists():
        time.sleep(STEP_SECONDS)  # nothing tells of a new file
    (task.state / "second").write_text("2")
    report.metrics(1, {"train_loss": 1.0})
    while not (task.state / "end").exists():
        time.sleep(STEP_SECONDS)  # as above


def deaf(task: Task, report: Reporter) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report.progress(1, 1, message="deaf")
    time.sleep(LONG_SECONDS)


def stubborn(task: Task, report: Reporter) -> None:
    """Hear the request to stop, and go on."""
    signal.signal(signal.SIGTERM, lambda *_: report.progress(1, 1, message="was asked to stop"))
    report.progress(1, 1, message="stubborn")
    time.sleep(LONG_SECONDS)


def grandchild(task: Task, report: Reporter) -> None:
    """Leave a process of its own running, as a data loader does."""
    (task.state / "grandchild").write_text(str(subprocess.Popen(["sleep", str(LONG_SECONDS)]).pid))
    report.progress(1, 1, message="grandchild")
    time.sleep(LONG_SECONDS)


def forgetful(task: Task, report: Reporter) -> None:
    (task.state / "grandchild").write_text(str(subprocess.Popen(["sleep", str(LONG_SECONDS)]).pid))


def raising(error: BaseException) -> Callable[[Task, Reporter], None]:
    def script(task: Task, report: Reporter) -> None:
        raise error

    return script


def signalled(number: signal.Signals) -> Callable[[Task, Reporter], None]:
    def script(task: Task, report: Reporter) -> None:
        print("last words", flush=True)
        os.kill(os.getpid(), number)
        time.sleep(LONG_SECONDS)  # the signal ends it

    return script


def second_rank_fails(task: Task, report: Reporter) -> dict[str, Any]:
    if os.environ["RANK"] == "1":
        raise MemoryError("rank 1 has no memory left")
    time.sleep(LONG_SECONDS)  # until torchrun ends it
    return {}


SCRIPTS: dict[str, Callable[[Task, Reporter], Any]] = {
    "look": look,
    "metrics": metrics,
    "sleep": sleep,
    "compute": compute,
    "talk": talk,
    "parts": parts,
    "deaf": deaf,
    "stubborn": stubborn,
    "grandchild": grandchild,
    "forgetful": forgetful,
    "second_rank_fails": second_rank_fails,
    "data_error": raising(DataError("trainlist01.txt:3: no clip a/b.avi")),
    "user_error": raising(UserError("weights of another architecture")),
    "memory": raising(MemoryError("1 TiB")),
    "cuda": raising(RuntimeError("CUDA error: an illegal memory access was encountered")),
    "bug": raising(ZeroDivisionError("division\nby zero")),
    "exit": raising(SystemExit(3)),
    "killed": signalled(signal.SIGKILL),
    "terminated": signalled(signal.SIGTERM),
    "segfault": signalled(signal.SIGSEGV),
}
