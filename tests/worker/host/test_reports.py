"""What a stage appends to its events file reaches the database, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import Until
from worker.contract import Event
from worker.host.endings import last_words, read_outcome
from worker.host.reports import EventTail, Reports


def test_the_tail_gives_complete_lines_once_and_skips_what_is_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    line = Event(time=1.0, type="warning", data={"message": "a clip was skipped"}).model_dump_json()

    def append(text: str) -> list[Any]:
        with path.open("a") as file:
            file.write(text)
        return tail.read()

    assert append(line[:10]) == []
    assert len(append(line[10:] + "\n" + line)) == 1
    assert len(append("\nnonsense\n" + line + "\n")) == 2
    assert tail.read() == []
    assert "nonsense" in caplog.text


def test_what_a_broken_disk_does_not_give_keeps_no_attempt_from_ending(tmp_path: Path, until: Until) -> None:
    (tmp_path / "taken").touch()
    beyond = tmp_path / "taken" / "file"  # not merely missing: the system refuses the path
    assert (last_words(beyond), read_outcome(beyond)) == ("", None)
    reports = Reports(beyond, lambda events: None, retry_seconds=1)
    reports.start()
    reports.finish()
    until(lambda: reports.complete)
    reports.stop()
