"""What every name that people give may be: one line that a terminal, a table and a page can print."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import SPEC

NOT_PRINTED = [" ", "\t", "\u3000", "two\nlines", "two\u2028lines", "red \x1b[31m", "red \x9b31m", "nul\0", ""]
NOT_PRINTED += ["\u200b", "\u2060 \ufeff", "turned \u202egpj.exe", "turned \u2066too"]
PRINTED = [
    "\u05e9\u05dc\u05d5\u05dd",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a",
]
"""Hebrew, Persian with a joiner in the word, a family of joined pictures, one letter."""
ALLOWED = ("on one line, without control characters, not of blanks alone", "text without NUL", "at least 1 character")
MEMBERS = {"dataset": "motion_shapes", "members": [{"recipe": "demo_ts_lstm", "stream": "rgb"}]}
UPLOAD = {"dataset": "motion_shapes", "split": "1", "stream": "rgb"}
DOORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "an experiment": ("POST", "/experiments", SPEC),
    "a recipe with changes": ("POST", "/experiments", {"recipe": "demo_ts_lstm"}),
    "an ensemble": ("POST", "/experiments", MEMBERS),
    "a sweep": ("POST", "/sweeps", {"experiment": {"recipe": "demo_ts_lstm"}}),
    "an experiment of a sweep": ("POST", "/sweeps", {}),
    "an edit": ("PATCH", "/experiments/exp_1", {}),
    "a score file": ("POST", "/scores", {}),
}


@pytest.mark.parametrize("name", NOT_PRINTED)
@pytest.mark.parametrize("door", DOORS)
def test_a_name_that_no_line_shows_is_refused(shared: TestClient, door: str, name: str) -> None:
    method, path, body = DOORS[door]
    field = "experiment.name" if door == "an experiment of a sweep" else "name"
    if door == "a score file":
        answer = shared.request(method, path, params=UPLOAD | {"name": name}, content=b"clip")
    elif field == "experiment.name":
        answer = shared.request(method, path, json={"experiment": {"recipe": "demo_ts_lstm", "name": name}})
    else:
        answer = shared.request(method, path, json=body | {"name": name})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert (error["field"], error["value"]) == (field, name)
    assert any(words in error["allowed"] for words in ALLOWED)


@pytest.mark.parametrize("name", PRINTED)
def test_a_name_in_any_script_is_taken(shared: TestClient, name: str) -> None:
    answer = shared.post("/experiments?dry_run=true", json=SPEC | {"name": name})
    assert answer.status_code == 200, answer.text
