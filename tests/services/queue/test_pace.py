"""What is left of a running stage by its own progress: hand-made histories."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.queue.pace import MOST_MARKS, Span, left, marked

TOTAL = 1000


def told(history: Iterable[tuple[float, int]], total: int = TOTAL, unit: str = "clips") -> dict[str, Any]:
    """Return the progress after reports of how much was done when."""
    found: dict[str, Any] | None = None
    for at, done in history:
        found = marked({"done": done, "total": total, "unit": unit, "message": ""}, found, at)
    assert found is not None
    return found


def test_a_steady_stage_says_one_time() -> None:
    steady = told((at, 10 * at) for at in range(61))
    assert left(steady, 60) == Span(40, 40)
    assert left(steady, 62) == Span(38, pytest.approx(42, abs=1))


def test_a_stage_that_changed_its_pace_says_both() -> None:
    slower = told([*((at, 10 * at) for at in range(31)), *((30 + at, 300 + at) for at in range(1, 31))])
    assert left(slower, 60) == Span(pytest.approx(60 / 330 * 670), pytest.approx(670, rel=0.1))


def test_what_was_done_before_the_attempt_is_no_pace() -> None:
    resumed = told((at, 900 + at) for at in range(51))
    assert left(resumed, 50) == Span(50, 50)


def test_silence_makes_it_longer_and_never_negative() -> None:
    silent = told((at, 10 * at) for at in range(61))
    found = left(silent, 100_000)
    assert found is not None
    assert found.high is not None
    assert (found.low, found.high > 400 / 600 * 100_000) == (0, True)


@pytest.mark.parametrize(
    "history",
    [
        [(0, 0)],
        [(0, 0), (1.9, 500)],  # too short a time
        [(0, 5), (600, 5)],  # nothing came
    ],
)
def test_nobody_knows_from_too_little(history: list[tuple[float, int]]) -> None:
    assert left(told(history), 700) is None
    assert left(None, 0) is None
    assert left({"done": 1, "total": 2, "unit": "clips"}, 0) is None  # of a version without marks


def test_another_unit_begins_anew() -> None:
    generated = told([(0, 0), (100, TOTAL)], unit="clips")
    read = marked({"done": 0, "total": TOTAL, "unit": "frames", "message": ""}, generated, 101)
    assert len(read["marks"]) == 1
    again = marked({"done": 3, "total": TOTAL, "unit": "clips", "message": ""}, generated, 101)
    assert again["marks"] == [[101, 3]]  # what goes back to the beginning too


def test_all_done_is_no_time_left() -> None:
    assert left(told([(0, 0), (100, TOTAL)]), 130) == Span(0, 0)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 400)), min_size=1, max_size=80), st.floats(0, 1e5))
def test_ranges_are_ranges_and_marks_are_few(steps: list[tuple[float, int]], later: float) -> None:
    at, done, history = 0.0, 0, []
    for pause, more in steps:
        at, done = at + pause, done + more
        history.append((at, done))
    progress = told(history, total=max(done, 1) + 5)
    assert len(progress["marks"]) <= MOST_MARKS
    assert progress["marks"][0] == [round(history[0][0], 2), history[0][1]]
    found = left(progress, at + later)
    if found is not None:
        assert found.high is not None
        assert 0 <= found.low <= found.high * (1 + 1e-9)


def test_the_last_half_is_seen_after_a_day() -> None:
    """Marks stay spread over the time, so that a stage that has become slower says so."""
    slow = [*((at, 100 * at) for at in range(0, 40_000, 2)), *((at, 3_999_800 + at) for at in range(40_000, 80_000, 2))]
    found = left(told(slow, total=5_000_000), 79_998)
    assert found is not None
    assert found.high == pytest.approx(920_202, rel=0.2)
