"""Real rank processes, started alone and by torchrun."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from services.errors import Cause
from services.stages import KINDS, StageKind
from tests.worker.conftest import PATIENCE_SECONDS, SCRIPTED, SCRIPTED_STAGES, TRAIN, Until, stages_from
from worker.contract import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_SUCCEEDED, STAGES, Event, Outcome, Task
from worker.rank.run import cause_of, run_task

COMMAND = [sys.executable, "-m", "worker.rank.run"]


def start(task_file: Path, *, command: list[str] | None = None) -> subprocess.Popen[str]:
    with stages_from():
        return subprocess.Popen([*(command or COMMAND), str(task_file)], stderr=subprocess.PIPE, text=True)


def read(task_file: Path) -> Task:
    return Task.model_validate_json(task_file.read_text())


def outcome_of(task_file: Path) -> Outcome:
    return Outcome.model_validate_json(read(task_file).result.read_text())


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has this process run the scripted stage."""
    monkeypatch.syspath_prepend(str(SCRIPTED))
    for kind, module in SCRIPTED_STAGES.items():
        monkeypatch.setitem(sys.modules, STAGES[kind], importlib.import_module(module))


def test_every_kind_has_a_module() -> None:
    assert set(STAGES) == set(KINDS) == set(get_args(StageKind))


IMPORTS = """
import importlib, sys
import worker.host.supervise, worker.rank.zygote
assert not {"torch", "numpy", "cv2"} & {*sys.modules}, "what supervises"
import worker.rank.run, worker.training.interrupt
for name in sys.argv[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""


def test_what_supervises_and_light_kinds_import_no_torch() -> None:
    """In one process, since an import is what takes long."""
    light = [STAGES[name] for name, kind in KINDS.items() if not kind.needs_torch]
    subprocess.run([sys.executable, "-c", IMPORTS, *light], check=True, timeout=PATIENCE_SECONDS)


def test_success_leaves_summary_and_events(scripted: None, make_task: Callable[..., Path]) -> None:
    file = make_task("metrics")
    assert run_task(file) == EXIT_SUCCEEDED
    outcome = outcome_of(file)
    assert (outcome.status, outcome.summary, outcome.gpu_memory_bytes) == ("succeeded", {}, None)
    assert outcome.memory_bytes is not None
    assert outcome.memory_bytes > 2**20
    events = [Event.model_validate_json(line) for line in read(file).events.read_text().splitlines()]
    assert [event.type for event in events] == ["progress", *["metrics"] * 5, "progress"]


@pytest.mark.parametrize(
    ("script", "cause", "message"),
    [
        ("data_error", Cause.DATA_ERROR, "trainlist01.txt:3: no clip a/b.avi"),
        ("user_error", Cause.USER_ERROR, "weights of another architecture"),
        ("memory", Cause.OUT_OF_MEMORY, "MemoryError: 1 TiB"),
        ("cuda", Cause.CUDA_ERROR, "RuntimeError: CUDA error: an illegal memory access was encountered"),
        ("bug", Cause.INTERNAL, "ZeroDivisionError: division by zero"),
    ],
)
def test_failure_has_a_typed_cause(
    scripted: None, make_task: Callable[..., Path], script: str, cause: Cause, message: str
) -> None:
    file = make_task(script)
    assert run_task(file) == EXIT_FAILED
    assert outcome_of(file) == Outcome(status="failed", cause=cause, message=message)


def test_torch_errors_are_told_without_importing_torch() -> None:
    def fake(name: str) -> Exception:
        return type(name, (RuntimeError,), {"__module__": "torch"})("of torch")  # type: ignore[no-any-return]

    assert cause_of(fake("OutOfMemoryError")) is Cause.OUT_OF_MEMORY
    assert cause_of(fake("AcceleratorError")) is Cause.CUDA_ERROR
    assert cause_of(RuntimeError("DefaultCPUAllocator: can't allocate memory")) is Cause.OUT_OF_MEMORY
    assert cause_of(RuntimeError("sizes of tensors must match")) is Cause.INTERNAL
    assert cause_of(type("OutOfMemoryError", (Exception,), {"__module__": "other"})()) is Cause.INTERNAL


def test_a_module_that_does_not_import_is_internal(
    scripted: None, make_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = make_task("metrics")
    monkeypatch.setitem(sys.modules, STAGES["index"], None)  # so that it does not import
    assert run_task(missing) == EXIT_FAILED
    assert outcome_of(missing).cause is Cause.INTERNAL


def test_a_stage_that_another_version_planned_says_so(scripted: None, make_task: Callable[..., Path]) -> None:
    before = {name: value for name, value in TRAIN.model_dump(mode="json").items() if name != "input"}
    file = make_task(params={**before, "snippet": None, "end_to_end": None})
    assert run_task(file) == EXIT_FAILED
    assert outcome_of(file) == Outcome(
        status="failed",
        cause=Cause.USER_ERROR,
        message="train: its parameters are not those of version 4: input: Field required; snippet: Extra inputs are not"
        " permitted; end_to_end: Extra inputs are not permitted; hint: another version of twostream planned this stage,"
        " submit the experiment again",
    )
    assert not list(read(file).state.iterdir())  # it never ran


def test_another_rank_reports_no_events_and_no_success_but_its_failure(
    scripted: None, make_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    good, bad = make_task("metrics"), make_task("memory")
    assert run_task(good) == EXIT_SUCCEEDED
    assert not read(good).events.exists()
    assert not read(good).result.exists()
    assert run_task(bad) == EXIT_FAILED
    assert outcome_of(bad).cause is Cause.OUT_OF_MEMORY


def test_sigterm_makes_a_training_stage_write_a_checkpoint(make_task: Callable[..., Path], until: Until) -> None:
    file = make_task()
    with start(file) as rank:
        until(read(file).events.exists)
        rank.send_signal(signal.SIGTERM)
        assert rank.wait(PATIENCE_SECONDS) == EXIT_INTERRUPTED
        assert "Traceback" not in rank.communicate()[1]
    assert (read(file).state / "checkpoint.pt").exists()
    assert outcome_of(file) == Outcome(status="interrupted", cause=Cause.PREEMPTED, message="asked to stop at step 42")


def test_sigterm_ends_other_stages_at_once(make_task: Callable[..., Path], until: Until) -> None:
    file = make_task("sleep")
    with start(file) as rank:
        until(read(file).events.exists)
        rank.send_signal(signal.SIGTERM)
        assert rank.wait(PATIENCE_SECONDS) == -signal.SIGTERM
    assert not read(file).result.exists()


def test_a_bug_leaves_its_traceback_in_the_log(make_task: Callable[..., Path]) -> None:
    with start(make_task("bug")) as rank:
        assert "ZeroDivisionError" in rank.communicate(timeout=PATIENCE_SECONDS)[1]


def test_a_rank_dies_with_the_process_that_started_it(
    make_task: Callable[..., Path], until: Until, gone: Callable[[int], bool]
) -> None:
    file = make_task("look", params={"dataset": "sleep"})
    parent_code = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    with start(file, command=[sys.executable, "-c", parent_code, *COMMAND]) as parent:
        until(read(file).events.exists)
        (child,) = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.kill()
        until(lambda: gone(int(child)))
        parent.communicate()
