"""What an attempt's remains say."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from services.errors import Cause
from worker.contract import Outcome
from worker.host.endings import Ending, blame_full_disk, judge, kernel_oom_kills, last_words, read_outcome
from worker.host.forkserver import Exit

DONE = Outcome(status="succeeded", summary={"clips": 3})
FAILED = Outcome(status="failed", cause=Cause.DATA_ERROR, message="no clip")
INTERRUPTED = Outcome(status="interrupted", cause=Cause.PREEMPTED, message="step 4")
STOPPED = Ending("preempted", Cause.PREEMPTED, "the worker shut down")
CANCELLED = Ending("cancelled", Cause.CANCELLED, "cancelled by request")
LATE = Ending("failed", Cause.TIMEOUT, "ran longer than 3 s")


@pytest.mark.parametrize(
    ("ended", "outcome", "asked", "status", "cause"),
    [
        (Exit(code=0), DONE, None, "succeeded", None),
        (Exit(code=0), DONE, STOPPED, "succeeded", None),  # was done before it heard
        (Exit(code=0), DONE, CANCELLED, "cancelled", Cause.CANCELLED),
        (Exit(code=1), DONE, None, "failed", Cause.INTERNAL),  # another rank failed unheard
        (Exit(code=0), None, None, "failed", Cause.INTERNAL),
        (Exit(code=70), FAILED, None, "failed", Cause.DATA_ERROR),
        (Exit(code=70), FAILED, CANCELLED, "cancelled", Cause.CANCELLED),
        (Exit(code=75), INTERRUPTED, None, "preempted", Cause.PREEMPTED),
        (Exit(code=75), INTERRUPTED, STOPPED, "preempted", Cause.PREEMPTED),
        (Exit(code=75), INTERRUPTED, LATE, "failed", Cause.TIMEOUT),
        (Exit(signal=signal.SIGKILL), None, None, "failed", Cause.WORKER_LOST),
        (Exit(signal=signal.SIGKILL), None, LATE, "failed", Cause.TIMEOUT),
        (Exit(signal=signal.SIGTERM), None, None, "preempted", Cause.PREEMPTED),
        (Exit(signal=signal.SIGABRT), None, None, "failed", Cause.INTERNAL),
        (Exit(signal=signal.SIGRTMIN + 3), None, None, "failed", Cause.INTERNAL),
        (Exit(zygote_died=True), None, None, "failed", Cause.WORKER_LOST),
    ],
)
def test_judgement(
    ended: Exit, outcome: Outcome | None, asked: Ending | None, status: str, cause: Cause | None
) -> None:
    ending = judge(ended, outcome, asked, "words", out_of_memory=False)
    assert (ending.status, ending.cause) == (status, cause)
    assert (ending.exit_code, ending.signal, ending.last_words) == (ended.code, ended.signal, "words")
    assert ending.summary == (DONE.summary if status == "succeeded" else None)


def test_sigkill_while_the_kernel_killed_for_memory_is_out_of_memory() -> None:
    ending = judge(Exit(signal=signal.SIGKILL), None, None, "", out_of_memory=True)
    assert ending.cause is Cause.OUT_OF_MEMORY


def test_last_words_are_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_bytes(b"\xff" * 20_000 + b"\n" + b"".join(b"line %d\n" % number for number in range(30)))
    assert last_words(log).splitlines() == [f"line {number}" for number in range(10, 30)]


def test_a_missing_or_torn_result_is_no_outcome(tmp_path: Path) -> None:
    assert read_outcome(tmp_path / "result.json") is None
    (tmp_path / "result.json").write_text('{"status": "suc')
    assert read_outcome(tmp_path / "result.json") is None


def test_the_kernel_tells_how_often_it_killed_for_memory() -> None:
    kills = kernel_oom_kills()
    assert kills is None or kills >= 0


def test_a_full_disk_is_the_cause_of_what_a_stage_could_not_explain(tmp_path: Path) -> None:
    full = Path("/proc")  # never has a byte to spare
    mute, told = Ending("failed", Cause.INTERNAL, "exit code 70 without a result"), Ending("failed", Cause.DATA_ERROR)
    assert blame_full_disk(mute, tmp_path) == mute
    assert blame_full_disk(told, full) == told
    ending = blame_full_disk(mute, full / "not" / "there")
    assert ending.cause is Cause.DISK_FULL
    assert "is full" in ending.message
