from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.specs import ExperimentSpec


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"model": {"kind": "transformer"}}, "model"),
        ({"splits": [4]}, "splits"),
        ({"splits": []}, "splits"),
        ({"splits": [1, 1]}, "splits"),
        ({"streams": []}, "streams"),
        ({"streams": ["audio"]}, "streams"),
        ({"training": {"optimizer": {"learning_rate": -1}}}, "learning_rate"),
        ({"model": {"kind": "ts_lstm", "segments": 20}, "evaluation": {"frames": 10}}, "model.segments"),
        ({"dataset": "../etc"}, "dataset"),
        ({"seeds": [-1]}, "seeds"),
        ({"fusion": {"method": "logits"}}, "evaluation.average"),
    ],
)
def test_bad_input_is_refused_and_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ExperimentSpec.model_validate({"dataset": "ucf101"} | changes)


def test_a_spec_is_frozen() -> None:
    spec = ExperimentSpec(dataset="ucf101")
    with pytest.raises(ValidationError):
        spec.dataset = "other"  # type: ignore[misc]
