"""What a shell is told when it completes a line."""

from __future__ import annotations

import pytest


@pytest.fixture
def completed(twostream, monkeypatch):
    """A function that returns what bash may put for the last of some words."""

    def complete(*words: str) -> list[str]:
        monkeypatch.setenv("_TWOSTREAM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("twostream", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        code, out, err = twostream()
        assert (code, err) == (0, "")
        return out.split()

    return complete


def test_commands_and_ids_are_completed(completed, submitted, monkeypatch):
    assert "leaderboard" in completed("lead")
    assert {"check", "fetch"} <= set(completed("dataset", ""))
    monkeypatch.delenv("_TWOSTREAM_COMPLETE")
    for words in (("show", ""), ("show", submitted[:9]), ("figure", "ex"), ("compare", submitted, "exp_")):
        assert submitted in completed(*words), words
    assert completed("show", "no id") == []
    assert completed("predict", "clip.avi", "--experiment", submitted[:8]) == [submitted]


def test_without_an_api_nothing_is_completed_and_nothing_said(completed, monkeypatch):
    monkeypatch.setenv("TWOSTREAM_API_URL", "http://127.0.0.1:9")
    assert completed("show", "exp_") == []
    monkeypatch.delenv("TWOSTREAM_API_URL")
    assert completed("show", "exp_") == []


def test_help_says_how_a_shell_learns_it(twostream):
    _, out, _ = twostream("--help")
    assert "--install-completion" in out
    assert "--show-completion" in out
