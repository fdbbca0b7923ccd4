from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.specs import ExperimentSpec, features_of

END_TO_END: dict[str, Any] = {"model": {"kind": "tsn"}, "backbone": {"end_to_end": {}}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"model": {"kind": "transformer"}}, "model"),
        ({"splits": [4]}, "splits"),
        ({"splits": []}, "splits"),
        ({"streams": []}, "streams"),
        ({"streams": ["audio"]}, "streams"),
        ({"training": {"optimizer": {"learning_rate": -1}}}, "learning_rate"),
        ({"dataset": "../etc"}, "dataset"),
        ({"seeds": [-1]}, "seeds"),
        ({"model": {"kind": "lstm", "hidden": []}}, "hidden"),
        ({"model": {"kind": "conv_lstm", "kernel_size": 2}}, "kernel_size"),
        ({"backbone": {"name": "resnet50"}}, "backbone.name"),
        ({"backbone": {"name": "timm:"}}, "backbone.name"),
        ({"flow": {"algorithm": "flownet"}}, "flow.algorithm"),
        ({"flow": {"jpeg_quality": 0}}, "flow.jpeg_quality"),
        ({"flow": {"resize": 31}}, "flow.resize"),
        ({"training": {"validate": True, "selection": "test"}}, "false with selection test"),
        ({"training": {"validate": True, "patience": 3}}, "patience"),
        ({"evaluation": {"pictures": 201}}, "evaluation.pictures"),
    ],
)
def test_what_no_schema_allows_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        ExperimentSpec.model_validate({"dataset": "ucf101"} | changes)


def test_a_spec_is_frozen() -> None:
    spec = ExperimentSpec(dataset="ucf101")
    with pytest.raises(ValidationError):
        spec.dataset = "other"  # type: ignore[misc]


def test_any_model_of_timm_gives_features() -> None:
    spec = ExperimentSpec.model_validate({"dataset": "ucf101", "backbone": {"name": "timm:vit_small_patch16_224"}})
    assert features_of(spec.backbone.name, "vector") == ("pool",)
    assert features_of(spec.backbone.name, "map") == ("map",)
    assert features_of("resnet101", "map") == ("conv5_2", "conv5_3")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"kind": "convnet"}},
        {"model": {"kind": "lstm", "batch_norm": False}},
        {"model": {"kind": "relational_lstm"}, "backbone": {"end_to_end": {"snippets": 8}, "finetune": None}},
        {**END_TO_END, "backbone": {"name": "vgg16", "end_to_end": {}, "finetune": {"batch_size": 1}}},
    ],
)
def test_a_batch_of_one_does_where_no_batch_norm_measures_it(changes: dict[str, Any]) -> None:
    spec = ExperimentSpec.model_validate({"dataset": "ucf101", "training": {"batch_size": 1}, **changes})
    assert spec.training.batch_size == 1
