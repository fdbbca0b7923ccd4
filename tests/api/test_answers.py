"""Answers are made once for whoever asks at the same time, and those asked for last are kept."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.answers import Answers


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
