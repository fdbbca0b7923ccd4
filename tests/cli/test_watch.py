import io

import pytest
from rich.console import Console

from cli.watch import Bars, Lines

SUBMITTED, BEFORE, AFTER = "2026-01-01T00:00:01+00:00", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:02+00:00"


def experiment(state="running", name="small", **more):
    progress = {"stages": {"succeeded": 1}, "total": 2}
    return {
        "id": f"exp_{name}",
        "name": name,
        "state": state,
        "progress": progress,
        "reused": 0,
        "created_at": SUBMITTED,
    } | more


def stage(state, done=None, **more):
    progress = None if done is None else {"done": done, "total": 8, "unit": "steps", "message": "epoch 1/2"}
    return {"key": "k", "name": "train", "state": state, "attempt": 1, "progress": progress, "finished_at": None} | more


@pytest.fixture
def lines():
    display = Lines(Console(file=io.StringIO(), width=200))
    display.text = display._console.file.getvalue
    return display


def test_a_log_gets_a_line_for_each_quarter_and_each_end(lines):
    for done in (None, 0, 1, 2, 3, 8):
        lines.update(experiment(), [stage("running", done)])
    lines.update(experiment("succeeded"), [stage("succeeded", finished_at=AFTER)])
    assert lines.text().splitlines() == [
        "small (exp_small): 1 stage",
        "train: running",
        "small (exp_small): running",
        "train: 2/8 steps, epoch 1/2",
        "train: 8/8 steps, epoch 1/2",
        "train: succeeded",
        "small (exp_small): succeeded",
    ]


def test_stages_that_experiments_share_are_told_once_and_earlier_ones_only_counted(lines):
    for name in ("a", "b"):
        shared = stage("succeeded", key="old", finished_at=BEFORE)
        lines.update(experiment("queued", name, reused=1), [shared, stage("running", 2)])
    assert lines.text().splitlines() == [
        "a (exp_a): 2 stages, 1 shared with earlier experiments, 1 finished before",
        "train: 2/8 steps, epoch 1/2",
        "b (exp_b): 2 stages, 1 shared with earlier experiments, 1 finished before",
    ]


def test_a_failure_says_why(lines):
    failed = {"cause": "data_error", "message": "trainlist01.txt line 3"}
    lines.update(experiment("failed", **failed), [stage("failed", attempt=2, **failed)])
    assert "train: failed: data_error: trainlist01.txt line 3\n" in lines.text()
    assert "small (exp_small): failed: data_error: trainlist01.txt line 3\n" in lines.text()


def test_a_terminal_shows_a_bar_for_what_runs():
    screen = io.StringIO()
    display = Bars(Console(file=screen, force_terminal=True, width=120))
    display.update(experiment(), [stage("running", 2)])
    assert len(display._bars) == 2
    display.update(experiment("failed"), [stage("failed", cause="data_error", message="bad list")])
    assert len(display._bars) == 1
    display.close()
    assert "train: failed: data_error: bad list" in screen.getvalue()


HOSTILE = "[/b] \x1b]0;title\x07\x1b[2J\u202e[red]x"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_name_is_no_markup_and_steers_no_terminal(terminal):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=200, color_system=None)
    display = Bars(console) if terminal else Lines(console)
    display.update(experiment(name=HOSTILE), [stage("running", 2, name=HOSTILE)])
    display.close()
    assert "[/b] \ufffd]0;title\ufffd\ufffd[2J\ufffd[red]x" in screen.getvalue()
    assert not any(mark in screen.getvalue() for mark in ("\x1b]", "\x07", "\x1b[2J", "\u202e"))
