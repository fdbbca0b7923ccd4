"""What fits in no schema is refused by our own validators: each error carries field, value and what is allowed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pydantic import ValidationError

from services.errors import REFUSED, refused, sentence
from services.specs import EnsembleSpec, ExperimentSpec
from services.specs.sweep import SweepSpec
from tests.services.refusals import CASES, ENSEMBLES
from tests.services.sweep_refusals import ONE, SWEEPS

ALL = [*CASES, *ENSEMBLES, *((ONE | changes, *rest) for changes, *rest in SWEEPS)]
ROOT = Path(__file__).parents[2]


def refusal(changes: dict[str, Any]) -> Any:
    """The one error of a spec, as pydantic lists it."""
    kind = SweepSpec if "experiment" in changes else EnsembleSpec if "members" in changes else ExperimentSpec
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(changes if kind is SweepSpec else {"dataset": "ucf101"} | changes)
    [error] = caught.value.errors()
    return error


@pytest.mark.parametrize(("changes", "field", "value", "allowed"), ALL)
def test_an_error_carries_field_value_and_what_is_allowed(
    changes: dict[str, Any], field: str, value: object, allowed: str
) -> None:
    error = refusal(changes)
    assert error["type"] == REFUSED
    assert field.endswith(error["ctx"]["field"])
    assert error["ctx"] == {"field": error["ctx"]["field"], "value": value, "allowed": allowed}
    assert error["msg"] == sentence(**error["ctx"]).removeprefix(": ")


def test_every_refusal_of_the_specs_has_a_case() -> None:
    reached: set[tuple[Path, int]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is refused.__code__ and frame.f_back is not None:
            reached.add((Path(frame.f_back.f_code.co_filename), frame.f_back.f_lineno))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for changes, *_ in ALL:
            refusal(changes)
    finally:
        sys.setprofile(before)
    files = sorted((ROOT / "services/specs").glob("*.py"))
    raised = [(file, node) for file in files for node in raises(file) if name_of(node) == "refused"]
    assert len(raised) > 20
    assert [
        f"{file.name}:{node.lineno}"
        for file, node in raised
        if not any(file == where and node.lineno <= line <= (node.end_lineno or 0) for where, line in reached)
    ] == []


def test_no_service_words_a_value_error_for_others_to_read() -> None:
    """A sentence would have to be parsed back by whoever answers with field, value and what is allowed."""
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for part in ("services", "api")
        for file in sorted((ROOT / part).rglob("*.py"))
        for node in raises(file)
        if name_of(node) in {"ValueError", "AssertionError", "PydanticCustomError"}
    ]
    assert found == []


def raises(file: Path) -> list[ast.Raise]:
    return [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Raise)]


def name_of(node: ast.Raise) -> str | None:
    """The name of what is raised, where it is called or named as it stands."""
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return raised.id if isinstance(raised, ast.Name) else None
