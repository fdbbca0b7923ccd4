"""One stage in one process: a task file in, events and a result file out, and an exit code that says how it ended.

Children of the fork server call ``run_task``; ``torchrun`` starts ``python -m worker.rank.run TASK.json`` once per GPU.
"""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from pydantic import ValidationError

from services.errors import Cause, StageError, UserError
from services.params import Params
from services.stages import KINDS
from services.stores.files import tells_of_full_disk, write_atomically
from worker.contract import DUMP_SIGNAL, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SUCCEEDED, STAGES, Outcome, Reporter, Task
from worker.training.interrupt import Interrupted, interrupt

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded before any fork, so that a child between fork and prctl does nothing but the call.
_libc = ctypes.CDLL(None, use_errno=True)


def run_task(path: Path) -> int:
    """Run the stage that a task file describes.

    Args:
        path: JSON of a ``Task``.

    Returns:
        ``EXIT_SUCCEEDED``, ``EXIT_FAILED`` or ``EXIT_INTERRUPTED``; the task's result file holds the ``Outcome``.
    """
    faulthandler.enable()
    faulthandler.register(DUMP_SIGNAL)
    task = _of_this_rank(Task.model_validate_json(path.read_bytes()))
    if KINDS[task.kind].interruptible:
        signal.signal(signal.SIGTERM, lambda _number, _frame: interrupt.request())
    outcome = _outcome(task)
    _publish(task.result, outcome)
    return {"succeeded": EXIT_SUCCEEDED, "failed": EXIT_FAILED, "interrupted": EXIT_INTERRUPTED}[outcome.status]


def _of_this_rank(task: Task) -> Task:
    """Give a process of several its own GPU, and let the first alone report events."""
    rank, local_rank = _rank(), os.environ.get("LOCAL_RANK", "0")
    device = f"cuda:{local_rank}" if task.device.startswith("cuda") else task.device
    return task.model_copy(update={"device": device, "events": task.events if rank == 0 else Path(os.devnull)})


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _outcome(task: Task) -> Outcome:
    try:
        summary = _run_stage(task)
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Outcome(
            status="succeeded",
            summary=summary,
            memory_bytes=used[0].ru_maxrss * 1024,
            gpu_memory_bytes=_gpu_memory_bytes(),
            cpu_seconds=sum(each.ru_utime + each.ru_stime for each in used),
        )
    except Interrupted as error:
        return Outcome(status="interrupted", cause=Cause.PREEMPTED, message=str(error))
    except StageError as error:
        logger.error("stage failed: %s", error)
        return Outcome(status="failed", cause=error.cause, message=str(error))
    except Exception as error:  # the process ends here whatever it was, and says so in its result
        logger.exception("stage failed")
        return Outcome(status="failed", cause=cause_of(error), message=_one_line(error))


def _run_stage(task: Task) -> dict[str, object]:
    module = importlib.import_module(STAGES[task.kind])
    torch = sys.modules.get("torch")  # never imported here: light kinds go without
    if torch is not None:
        torch.set_num_threads(task.threads)
    params = _params(task)
    report = Reporter(task.events)
    try:
        summary: dict[str, object] = module.run(task, params, report)
    finally:
        report.close()
    return summary


def _gpu_memory_bytes() -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


def _params(task: Task) -> Params:
    """Return the parameters of a stage.

    Raises:
        UserError: another version of twostream planned it, whose parameters this one does not have.
    """
    kind = KINDS[task.kind]
    try:
        return kind.params.model_validate(task.params)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
        raise UserError(
            f"{task.kind}: its parameters are not those of version {kind.version}: {'; '.join(wrong[:3])};"
            " hint: another version of twostream planned this stage, submit the experiment again"
        ) from error


def cause_of(error: BaseException) -> Cause:
    """Tell the typed cause of an exception that a stage did not raise on purpose.

    Torch's classes are recognised by their names, since light kinds must not import torch, and some of its errors by
    their words, since they have no class.
    """
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    words = str(error) if isinstance(error, RuntimeError) else ""
    if tells_of_full_disk(error):
        return Cause.DISK_FULL
    if names & {"builtins.MemoryError", "torch.OutOfMemoryError"} or "can't allocate memory" in words:
        return Cause.OUT_OF_MEMORY
    if "torch.AcceleratorError" in names or any(word in words for word in ("CUDA error", "cuDNN error", "CUBLAS_")):
        return Cause.CUDA_ERROR
    return Cause.INTERNAL


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:1000]


def _publish(path: Path, outcome: Outcome) -> None:
    """Write the result; among several ranks the first one that fails says why, and rank 0 alone says all else."""
    first_word = outcome.status == "succeeded" or not path.exists()
    if first_word and (_rank() == 0 or outcome.status == "failed"):
        write_atomically(path, outcome.model_dump_json().encode())


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent's thread ends; exit at once when the parent is already gone.

    Args:
        parent: process id of the parent, taken by whoever knows it for certain.
    """
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(EXIT_FAILED)


def log_to_stderr() -> None:
    """Send the log of this process to its standard error, which is the attempt's log file."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )


def main(arguments: list[str]) -> int:
    """Run ``TASK.json``."""
    die_with_parent(os.getppid())
    log_to_stderr()
    return run_task(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
