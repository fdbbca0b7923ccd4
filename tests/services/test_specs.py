from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from services.specs import ExperimentSpec, features_of

BOTH: dict[str, Any] = {"fusion": {"method": "features"}}
END_TO_END: dict[str, Any] = {"model": {"kind": "tsn"}, "backbone": {"end_to_end": {}}}


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
        ({"model": {"kind": "video_lstm"}, "streams": ["rgb"]}, r"streams: got \['rgb'\], allowed: rgb and flow"),
        ({"model": {"kind": "temporal_convnet", "pools": [8, 8]}}, "model.pools: got"),
        ({"model": {"kind": "lstm", "hidden": []}}, "hidden"),
        ({"model": {"kind": "conv_lstm", "kernel_size": 2}}, "kernel_size"),
        (
            {"model": {"kind": "tsn", "segments": 9}, "evaluation": {"snippet": 8}},
            "allowed: 1 to evaluation.snippet = 8",
        ),
        ({"backbone": {"name": "resnet50"}}, "backbone.name"),
        ({"backbone": {"name": "timm:"}}, "backbone.name"),
        ({"backbone": {"feature": "conv5_2"}}, "backbone.feature: got conv5_2, allowed: pool5, since model ts_lstm"),
        (
            {"model": {"kind": "motion_alstm"}, "backbone": {"feature": "conv5_2"}},
            "backbone.feature: got conv5_2, allowed: pool5, since model motion_alstm takes a vector of flow",
        ),
        ({"flow_stream": {"model": {"kind": "video_lstm"}}}, "flow_stream.model.kind: got video_lstm, allowed"),
        (
            {"flow_stream": {"model": {"kind": "lstm"}}, "fusion": {"method": "features"}},
            "flow_stream.model: got lstm, allowed: null",
        ),
        ({"flow_stream": {"training": {"epochs": 2}}, "streams": ["rgb"]}, "flow_stream: got values, allowed: null"),
        (
            {"flow_stream": {"model": {"kind": "tsn", "segments": 25}}, "evaluation": {"frames": 20}},
            "flow_stream.model.segments: got 25",
        ),
        ({"flow_stream": {"from_rgb": True}}, "flow_stream.from_rgb: got true, allowed: false, unless both streams"),
        ({**END_TO_END, "flow_stream": {"from_rgb": True, "model": {"kind": "memory"}}}, "both networks are alike; "),
        (
            {
                "model": {"kind": "memory", "hidden": 64},
                "backbone": {"end_to_end": {"snippets": 8}},
                "flow_stream": {"from_rgb": True, "model": {"kind": "memory"}},
            },
            "both networks are alike; hidden differs",
        ),
        ({"fusion": {"rgb": 0, "flow": 0}}, "fusion.rgb: got 0 beside fusion.flow 0"),
        (
            {
                "model": {"kind": "conv_lstm"},
                "fusion": {"method": "features"},
                "flow_stream": {"backbone": {"name": "tiny"}},
            },
            r"flow_stream.backbone.name: got tiny, whose maps are \(4, 4\), allowed: a backbone with maps of \(7, 7\)",
        ),
        (
            {"backbone": {"name": "bn_inception", "weights": "imagenet"}},
            "backbone.weights: got imagenet, allowed: none",
        ),
        (
            {"training": {"batch_size": 4}, "resources": {"gpus": 8}},
            "training.batch_size: got 4, allowed: at least 16,",
        ),
        (
            {"training": {"batch_size": 4}, "resources": {"gpus": 8}, "model": {"kind": "convnet"}},
            "training.batch_size: got 4, allowed: at least resources.gpus = 8",
        ),
        (
            {"training": {"batch_size": 1}, "resources": {"gpus": 0}},
            "training.batch_size: got 1, allowed: at least 2, since batch norm needs two samples in each process",
        ),
        (
            {**END_TO_END, "training": {"batch_size": 1}},
            "training.batch_size: got 1, allowed: at least 2, since batch norm needs two samples in each process",
        ),
        ({"backbone": {"finetune": {"batch_size": 1}}}, "backbone.finetune.batch_size: got 1, allowed: at least 2"),
        (
            {"flow_stream": {"backbone": {"finetune": {"batch_size": 7}}}, "resources": {"gpus": 4}},
            "flow_stream.backbone.finetune.batch_size: got 7, allowed: at least 8",
        ),
        (
            {"fusion": {"method": "features"}, "flow_stream": {"training": {"epochs": 3}}},
            "flow_stream.training: got values, allowed: null",
        ),
        (
            {
                "fusion": {"method": "features"},
                "model": {"kind": "tsn"},
                "flow_stream": {"backbone": {"end_to_end": {}}},
            },
            "fusion.method: got features",
        ),
        (
            {**END_TO_END, "model": {"kind": "relational_lstm"}},
            "model.segments: got 8, allowed: 1 to backbone.end_to_end",
        ),
        (
            {"flow_stream": {"model": {"kind": "conv_lstm"}}, "backbone": {"feature": "pool5"}},
            "backbone.feature: got pool5",
        ),
        ({"backbone": {"end_to_end": {}}}, "model.kind: got ts_lstm, allowed: tsn, memory, relational_lstm"),
        ({"evaluation": {"crops": "ten"}}, "evaluation.crops: got ten, allowed: center or stretch"),
        ({"evaluation": {"positions": 4}}, "evaluation.positions: got 4, allowed: 1"),
        ({**END_TO_END, "evaluation": {"snippet": 30}}, "evaluation.snippet: got 30, allowed: null"),
        ({**END_TO_END, "fusion": {"method": "features"}}, "fusion.method: got features, allowed: probabilities"),
        ({**END_TO_END, "model": {"kind": "tsn", "segments": 4}}, "backbone.end_to_end.snippets = 3"),
    ],
)
def test_bad_input_is_refused_and_named(changes: dict[str, Any], field: str) -> None:
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
