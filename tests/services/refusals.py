"""What each check of a spec refuses: changes of a spec, and the field, the value and what is allowed."""

from __future__ import annotations

from typing import Any

END_TO_END: dict[str, Any] = {"model": {"kind": "tsn"}, "backbone": {"end_to_end": {}}}
TWO_SAMPLES = "since batch norm needs two samples in each process"
UNLESS_FRAMES = "unless backbone.end_to_end is given or model.classifier is finetuned"
FINETUNED = {"kind": "convnet", "classifier": "finetuned"}
NOT_ALIKE = "false, unless both networks are alike;"
TOGETHER: dict[str, Any] = {"fusion": {"method": "features"}}

CASES: list[tuple[dict[str, Any], str, object, str]] = [
    ({"splits": [1, 1]}, "splits", [1, 1], "each value once"),
    ({"streams": ["rgb", "rgb"]}, "streams", ["rgb", "rgb"], "each value once"),
    ({"seeds": [0, 0]}, "seeds", [0, 0], "each value once"),
    (
        {"fusion": {"method": "logits"}},
        "evaluation.average",
        "probabilities",
        "'logits' with fusion.method 'logits'",
    ),
    ({"fusion": {"rgb": 0, "flow": 0}}, "fusion.rgb", 0, "above 0, since fusion.flow is 0"),
    (
        {"model": {"kind": "video_lstm"}, "streams": ["rgb"]},
        "streams",
        ["rgb"],
        "rgb and flow for model video_lstm",
    ),
    (
        {"flow_stream": {"training": {"epochs": 2}}, "streams": ["rgb"]},
        "flow_stream",
        {"training": {"epochs": 2}},
        "null, since streams are ['rgb']",
    ),
    (
        {"flow_stream": {"model": {"kind": "video_lstm"}}},
        "flow_stream.model.kind",
        "video_lstm",
        "a network of one stream",
    ),
    (
        {**TOGETHER, "flow_stream": {"model": {"kind": "lstm"}}},
        "flow_stream.model",
        {"kind": "lstm"},
        "null with fusion.method features",
    ),
    (
        {**TOGETHER, "flow_stream": {"training": {"epochs": 3}}},
        "flow_stream.training",
        {"epochs": 3},
        "null, since one network sees both streams",
    ),
    ({"flow": {"algorithm": "dis", "device": "gpu"}}, "flow.device", "gpu", "cpu for dis"),
    ({"flow": {"algorithm": "brox", "device": "cpu"}}, "flow.device", "cpu", "gpu for brox"),
    (
        {"flow": {"storage": "on_the_fly", "device": "cpu"}},
        "flow.storage",
        "on_the_fly",
        "stored with flow.device cpu",
    ),
    (
        {"flow": {"storage": "on_the_fly", "algorithm": "farneback"}},
        "flow.storage",
        "on_the_fly",
        "stored with flow.algorithm farneback",
    ),
    (
        {"model": {"kind": "temporal_convnet", "pools": [8, 8]}},
        "model.pools",
        [8, 8],
        "a product of 1 to frames = 25",
    ),
    (
        {"flow_stream": {"model": {"kind": "temporal_convnet", "pools": [8, 8]}}},
        "flow_stream.model.pools",
        [8, 8],
        "a product of 1 to frames = 25",
    ),
    (
        {"backbone": {"feature": "conv5_2"}},
        "backbone.feature",
        "conv5_2",
        "pool5, since model ts_lstm takes a vector of rgb",
    ),
    (
        {"model": {"kind": "motion_alstm"}, "backbone": {"feature": "conv5_2"}},
        "backbone.feature",
        "conv5_2",
        "pool5, since model motion_alstm takes a vector of flow",
    ),
    (
        {"flow_stream": {"model": {"kind": "conv_lstm"}}, "backbone": {"feature": "pool5"}},
        "backbone.feature",
        "pool5",
        "conv5_2 or conv5_3, since model conv_lstm takes a map of flow",
    ),
    (
        {"backbone": {"name": "bn_inception", "weights": "imagenet"}},
        "backbone.weights",
        "imagenet",
        "none or a file, since no library has weights of bn_inception",
    ),
    (
        {**TOGETHER, "model": {"kind": "conv_lstm"}, "flow_stream": {"backbone": {"name": "tiny"}}},
        "flow_stream.backbone.name",
        "tiny",
        "a backbone with maps of (7, 7), as rgb's; those of tiny are (4, 4)",
    ),
    (
        {"model": {"kind": "ts_lstm", "segments": 20}, "evaluation": {"frames": 10}},
        "model.segments",
        20,
        "1 to evaluation.frames = 10",
    ),
    (
        {"model": {"kind": "tsn", "segments": 9}, "evaluation": {"snippet": 8}},
        "model.segments",
        9,
        "1 to evaluation.snippet = 8",
    ),
    (
        {"flow_stream": {"model": {"kind": "tsn", "segments": 25}}, "evaluation": {"frames": 20}},
        "flow_stream.model.segments",
        25,
        "1 to evaluation.frames = 20",
    ),
    (
        {**END_TO_END, "model": {"kind": "tsn", "segments": 4}},
        "model.segments",
        4,
        "1 to backbone.end_to_end.snippets = 3",
    ),
    (
        {**END_TO_END, "model": {"kind": "relational_lstm"}},
        "model.segments",
        8,
        "1 to backbone.end_to_end.snippets = 3",
    ),
    (
        {"training": {"batch_size": 4}, "resources": {"gpus": 8}},
        "training.batch_size",
        4,
        f"at least 16, {TWO_SAMPLES}",
    ),
    (
        {"training": {"batch_size": 4}, "resources": {"gpus": 8}, "model": {"kind": "convnet"}},
        "training.batch_size",
        4,
        "at least resources.gpus = 8",
    ),
    (
        {"training": {"batch_size": 1}, "resources": {"gpus": 0}},
        "training.batch_size",
        1,
        f"at least 2, {TWO_SAMPLES}",
    ),
    ({**END_TO_END, "training": {"batch_size": 1}}, "training.batch_size", 1, f"at least 2, {TWO_SAMPLES}"),
    (
        {"backbone": {"finetune": {"batch_size": 1}}},
        "backbone.finetune.batch_size",
        1,
        f"at least 2, {TWO_SAMPLES}",
    ),
    (
        {"flow_stream": {"backbone": {"finetune": {"batch_size": 7}}}, "resources": {"gpus": 4}},
        "flow_stream.backbone.finetune.batch_size",
        7,
        f"at least 8, {TWO_SAMPLES}",
    ),
    (
        {"backbone": {"finetune": {"fc6_dropout": 0.9}}},
        "backbone.finetune.fc6_dropout",
        0.9,
        "null, since resnet101 has no fc6; vgg16 has",
    ),
    ({"training": {"patience": 3}}, "training.patience", 3, "null with selection last"),
    ({"training": {"micro_batch": 1}}, "training.micro_batch", 1, f"at least 2, {TWO_SAMPLES}"),
    (
        {"training": {"optimizer": {"decay": 0.5}}},
        "training.optimizer.decay",
        0.5,
        "0.9 with optimizer adam; rmsprop alone reads it",
    ),
    (
        {"backbone": {"finetune": {"optimizer": {"name": "sgd", "epsilon": 1e-6}}}},
        "backbone.finetune.optimizer.epsilon",
        1e-6,
        "null with optimizer sgd; rmsprop alone reads it",
    ),
    (
        {"training": {"milestones": [3], "schedule": {"kind": "plateau"}}},
        "training.milestones",
        [3],
        "none with a schedule",
    ),
    (
        {"evaluation": {"crops": "ten"}},
        "evaluation.crops",
        "ten",
        f"center or stretch, {UNLESS_FRAMES}",
    ),
    ({"evaluation": {"positions": 4}}, "evaluation.positions", 4, f"1, {UNLESS_FRAMES}"),
    (
        {**TOGETHER, "model": FINETUNED},
        "fusion.method",
        "features",
        "probabilities, logits or product with model.classifier finetuned",
    ),
    (
        {"flow_stream": {"model": FINETUNED}, "backbone": {"finetune": None}},
        "flow_stream.model.classifier",
        "finetuned",
        "retrained, since backbone.finetune is null",
    ),
    (
        {"model": FINETUNED, "backbone": {"end_to_end": {}}},
        "model.classifier",
        "finetuned",
        "retrained, since backbone.end_to_end is given",
    ),
    (
        {"model": {**FINETUNED, "weights": {"recipe": "tsn_ucf101"}}},
        "model.weights",
        {"recipe": "tsn_ucf101"},
        "none with classifier finetuned",
    ),
    (
        {"model": {"kind": "lstm", "weights": "imagenet"}},
        "model.weights",
        "imagenet",
        "none, a file, or a stage that trains them",
    ),
    (
        {"model": {"kind": "lstm", "weights": [{"recipe": "lstm_ucf101", "into": "motion"}]}},
        "model.weights.into",
        "motion",
        "all for model lstm",
    ),
    (
        {"model": {"kind": "lstm", "weights": {"recipe": "lstm_ucf101", "part": "backbone"}}},
        "model.weights.part",
        "backbone",
        "model in weights of a network",
    ),
    (
        {"backbone": {"weights": {"split": 1}}},
        "backbone.weights.experiment",
        None,
        "the id of an experiment, or recipe in place of it, or stream or part of this very experiment",
    ),
    (
        {"backbone": {"weights": {"experiment": "exp_1", "recipe": "lstm_ucf101"}}},
        "backbone.weights.experiment",
        "exp_1",
        "null with recipe: one of the two",
    ),
    (
        {"backbone": {"weights": {"experiment": "exp_1", "dataset": "ucf101"}}},
        "backbone.weights.dataset",
        "ucf101",
        "null without recipe: an experiment has its own",
    ),
    (
        {"model": FINETUNED, "evaluation": {"snippet": 30}},
        "evaluation.snippet",
        30,
        "null with model.classifier finetuned",
    ),
    (
        {"backbone": {"end_to_end": {}}},
        "model.kind",
        "ts_lstm",
        "tsn, memory, relational_lstm with backbone.end_to_end",
    ),
    (
        {**END_TO_END, "evaluation": {"snippet": 30}},
        "evaluation.snippet",
        30,
        "null with backbone.end_to_end",
    ),
    (
        {**END_TO_END, **TOGETHER},
        "fusion.method",
        "features",
        "probabilities, logits or product with backbone.end_to_end",
    ),
    (
        {**TOGETHER, "model": {"kind": "tsn"}, "flow_stream": {"backbone": {"end_to_end": {}}}},
        "fusion.method",
        "features",
        "probabilities, logits or product with backbone.end_to_end",
    ),
    (
        {"flow_stream": {"from_rgb": True}},
        "flow_stream.from_rgb",
        True,
        "false, unless both streams are trained end to end",
    ),
    (
        {**END_TO_END, "flow_stream": {"from_rgb": True, "model": {"kind": "memory"}}},
        "flow_stream.from_rgb",
        True,
        f"{NOT_ALIKE} controller differs",
    ),
    (
        {
            "model": {"kind": "memory", "hidden": 64},
            "backbone": {"end_to_end": {"snippets": 8}},
            "flow_stream": {"from_rgb": True, "model": {"kind": "memory"}},
        },
        "flow_stream.from_rgb",
        True,
        f"{NOT_ALIKE} hidden differs",
    ),
    (
        {"model": {"kind": "conv_lstm"}, "evaluation": {"localization": {}}},
        "model.kind",
        "conv_lstm",
        "alstm, conv_alstm, motion_alstm or video_lstm with evaluation.localization",
    ),
    (
        {"evaluation": {"spacing": "whole_step", "snippet": 30}},
        "evaluation.spacing",
        "whole_step",
        "even with evaluation.snippet",
    ),
    (
        {**END_TO_END, "evaluation": {"spacing": "whole_step", "positions": 3}},
        "evaluation.spacing",
        "whole_step",
        "even with evaluation.positions above 1",
    ),
    (
        {"training": {"selection": "test", "validate": True}},
        "training.validate",
        True,
        "false with selection test, which tries the test list",
    ),
]

MEMBER = {"recipe": "demo_ts_lstm", "stream": "rgb"}
ENSEMBLES: list[tuple[dict[str, Any], str, object, str]] = [
    ({"members": [{"stream": "rgb"}, MEMBER, MEMBER]}, "", [], "one of experiment, recipe and scores"),
    (
        {"members": [{"scores": ["0" * 64], "stream": "rgb"}, MEMBER, MEMBER]},
        "stream",
        "rgb",
        "null with scores, which say their own",
    ),
    (
        {"members": [{"recipe": "a"}, MEMBER, MEMBER]},
        "stream",
        None,
        "rgb, flow or two-stream of the experiment or recipe",
    ),
    ({"members": [MEMBER]}, "members", 1, "2 to 16, or one that is score files"),
    ({"members": [MEMBER, MEMBER], "seeds": [1, 1]}, "seeds", [1, 1], "each value once"),
    (
        {"members": [{"scores": ["0" * 64]}, {"scores": ["1" * 64]}], "seeds": [0, 1]},
        "seeds",
        [0, 1],
        "one seed, since score files alone are the same with every seed",
    ),
    (
        {"members": [MEMBER | {"weight": 0}, MEMBER | {"weight": 0}]},
        "members.0.weight",
        0.0,
        "above 0 for one member at the least",
    ),
]
