"""Answers are made once for whoever asks at the same time, and those asked for last are kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.answers import Alike, Answers, Briefly


def test_the_first_makes_it_and_the_others_wait() -> None:
    answers: Answers[int] = Answers()
    made, all_ask = [], threading.Barrier(4)

    def make() -> int:
        made.append(1)
        return len(made)

    def ask() -> int:
        all_ask.wait(10)
        return answers.get("key", make)

    with ThreadPoolExecutor(4) as pool:
        assert [future.result() for future in [pool.submit(ask) for _ in range(4)]] == [1] * 4
    assert answers.get("other", make) == 2


def test_those_asked_for_last_are_kept() -> None:
    answers: Answers[str] = Answers(2)
    for key in ("a", "b", "a", "c"):
        answers.get(key, lambda: "first")
    assert [answers.get(key, lambda: "again") for key in ("a", "c", "b")] == ["first", "first", "again"]


def test_an_error_is_not_kept() -> None:
    answers: Answers[int] = Answers()
    with pytest.raises(ZeroDivisionError):
        answers.get("key", lambda: 1 // 0)
    assert answers.get("key", lambda: 1) == 1


def test_an_answer_will_do_for_a_moment_unless_one_has_heard_of_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr("api.answers.time.monotonic", lambda: clock[0])
    answers: Briefly[int] = Briefly(5.0, most=2)

    def at(seconds: float, heard: int, key: str = "key") -> int:
        clock[0] = seconds
        return answers.get(key, heard, lambda: (heard + 2, made.append(1) or len(made)))  # type: ignore[func-returns-value]

    assert [at(99, 7), at(100, 9), at(103, 8)] == [1, 1, 1]  # the first holds all up to 9
    assert at(103, 10) == 2
    assert [at(107, 0), at(108, 0)] == [2, 3]  # as old as it may be
    assert [at(108, 0, "other"), at(108, 0, "third"), at(108, 0)] == [4, 5, 6]  # the one asked for least lately went
    with pytest.raises(ZeroDivisionError):
        answers.get("key", 99, lambda: (1 // 0, 0))
    assert at(108, 0) == 6


def test_those_who_come_back_when_it_is_due_share_what_is_made_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, made = [0.0], []
    monkeypatch.setattr("api.answers.time.monotonic", lambda: clock[0])
    answers: Briefly[int] = Briefly(5.0)

    def at(seconds: float, heard: int) -> tuple[int | None, float]:
        clock[0] = seconds
        return answers.due("key", heard, 10.0, lambda: (int(seconds), made.append(1) or len(made)))  # type: ignore[func-returns-value]

    assert at(100, 50) == (1, 10.0)
    assert at(103, 100) == (1, 7.0)  # it holds all up to 100
    assert at(103, 101) == (None, 7.0)
    assert at(109.4, 109) == (None, pytest.approx(0.6))
    assert at(109.6, 109) == (2, 10.0)  # a little early is in time
    assert at(110, 105) == (2, pytest.approx(9.6))
    assert at(200, 10**6) == (None, 10.0)


def test_what_is_made_of_an_object_is_made_once_and_of_an_equal_one_again() -> None:
    kept: Alike[list[int], list[int]] = Alike(most=2)
    one, equal = [1], [1]
    made = kept.get(one, list)
    assert kept.get(one, list) is made
    assert kept.get(equal, list) is not made
    for other in ([2], [3]):
        kept.get(other, list)
    assert kept.get(one, list) is not made, "only so many are kept"
