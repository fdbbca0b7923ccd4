"""Every number that a recipe states, beside what the paper or its released code says, copied out by hand.

``paper`` quotes the text and names its section; MATDL has none but headings. ``code`` is what the paper leaves open and
its released code, or TSN's solvers, settle; ``ours`` is what neither says, or where we deviate. A number without a row
here fails: whoever adds one says whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from services.recipes import RECIPES

Row = tuple[object, str, str]
"""A value, whose it is, and where it stands."""
Rows = Mapping[str, Row]

RGB, FLOW = "backbone.finetune.", "flow_stream.backbone.finetune."


def finetuned(prefix: str, rows: Rows) -> dict[str, Row]:
    return {f"{prefix}{path}": row for path, row in rows.items()}


TS_LSTM_CONVNET: Rows = {  # TS-LSTM, sec. 3.4.1
    "batch_size": (64, "paper", "sec. 3.4.1: The batch sizes for both ConvNets are 64"),
    "optimizer.weight_decay": (1e-4, "paper", "sec. 3.4.1: The weight decay is set to be 1 x 10^-4"),
    "schedule.factor": (0.1, "paper", "sec. 3.4.1: divided by 10 when the accuracy is saturated"),
    "schedule.patience": (3, "ours", ""),
    "augmentation.min_area": (0.08, "paper", "sec. 3.4.1: between 0.08 to 1 of the original image area"),
    "augmentation.flip": (0.5, "code", "flips half of them, and leaves the sign of flow"),
    "augmentation.jitter": (0.4, "code", "brightness, contrast and saturation by 0.4"),
}
TS_LSTM: Rows = {
    **finetuned(RGB, TS_LSTM_CONVNET),
    RGB + "optimizer.learning_rate": (
        5e-6,
        "paper",
        "sec. 3.4.1: spatial-stream ConvNet is initially set to 5 x 10^-6",
    ),
    RGB + "epochs": (90, "code", "opts.lua: nEpochs 90"),
    **finetuned(FLOW, TS_LSTM_CONVNET),
    FLOW + "optimizer.learning_rate": (5e-3, "paper", "sec. 3.4.1: temporal-stream ConvNet is set to 5 x 10^-3"),
    FLOW + "epochs": (30, "ours", ""),
    "model.segments": (3, "paper", "Table 3: TS 3"),
    "model.hidden": ([512], "paper", "Table 3: 512"),
    "flow.bound": (20, "paper", "sec. 3.4.1: thresholded the absolute value of motion magnitude to 20"),
    "flow.stack": (10, "paper", "sec. 3.1: Stacking 10 optical flow images"),
    "training.epochs": (100, "code", "100 epochs"),
    "training.batch_size": (64, "code", "batches of 64"),
    "training.optimizer.learning_rate": (5e-5, "paper", "sec. 3.4.1: 5 x 10^-5 for Temporal Segment LSTM"),
    "training.optimizer.clip_value": (5, "code", "clips each element at 5"),
    "evaluation.frames": (25, "paper", "sec. 3.4.1: use 25 frames for testing"),
}
TEMPORAL_INCEPTION: Rows = {
    path: row for path, row in TS_LSTM.items() if not path.startswith(("model.", "training."))
} | {
    "model.kernels": ([5, 7], "paper", "sec. 4.3: kernel sizes of 5 and 7 achieved the best"),
    "model.fc_dim": (1024, "paper", "sec. 3.3: a 1024-dimension vector"),
    "training.epochs": (30, "code", "30 epochs"),
    "training.batch_size": (16, "code", "batches of 16"),
    "training.milestones": ([10, 20], "code", "every 10 epochs"),
    "training.optimizer.learning_rate": (1e-4, "paper", "sec. 3.4.1: we use 1 x 10^-4 for learning rate"),
    "training.optimizer.weight_decay": (0.1, "paper", "sec. 3.4.1: and 1 x 10^-1 for weight decay"),
}
VGG: Rows = {
    "epochs": (30, "ours", ""),
    "batch_size": (64, "ours", "as TS-LSTM"),
    "milestones": ([10, 20], "ours", ""),
    "optimizer.learning_rate": (5e-4, "ours", "as TS-LSTM's code"),
    "optimizer.weight_decay": (1e-4, "ours", "as TS-LSTM"),
}
VIDEO: Rows = {
    "splits": ([1], "paper", "sec. 5.1: we report results on the first split"),
    **finetuned(
        RGB,
        {
            **VGG,
            "fc6_dropout": (0.95, "code", "prototxt, fc6 of rgb"),
            "dropout": (0.9, "code", "prototxt, fc7 of rgb"),
        },
    ),
    **finetuned(
        FLOW,
        {
            **VGG,
            "fc6_dropout": (0.9, "code", "prototxt, fc6 of flow"),
            "dropout": (0.8, "code", "prototxt, fc7 of flow"),
        },
    ),
    "flow.bound": (20, "code", "bound 20; sec. 5.2: linearly rescaling them to [0, 255]"),
    "flow.stack": (1, "paper", "sec. 5.2: a single optical flow image"),
    "training.batch_size": (128, "paper", "sec. 5.2: a batch of 128 videos"),
    "training.optimizer.learning_rate": (1e-3, "paper", "sec. 5.2: a learning rate of 0.001"),
    "training.optimizer.decay": (0.9, "paper", "sec. 5.2: a decay rate 0.9"),
    "training.optimizer.epsilon": (1e-6, "code", "rmsprop.py: inside the root"),
    "training.checkpoint_epochs": (10, "ours", ""),
    "evaluation.frames": (25, "paper", "sec. 5.2: 25 equally spaced segments"),
    "evaluation.snippet": (30, "paper", "sec. 5.2: with size of 30 frames"),
}
OWN_FLOW: Rows = {f"flow_stream.{path}": row for path, row in VIDEO.items() if path.startswith("training.")}


def trained(epochs: int, flow_epochs: int | None = None) -> Rows:
    rows = dict(VIDEO) | {"training.epochs": (epochs, "code", "released script")}
    if flow_epochs is not None:
        rows |= OWN_FLOW | {"flow_stream.training.epochs": (flow_epochs, "code", "released script")}
    return rows


RELATIONAL_NETWORK: Rows = {
    "model.segments": (8, "paper", "sec. 5.2: T = 8 segments by default"),
    "model.momentum": (0.001, "paper", "sec. 5.2: very small momentum (e.g. 0.001, 0.0005)"),
    "training.batch_size": (24, "paper", "sec. 5.2: batch size to 24 (when T = 8)"),
    "training.optimizer.learning_rate": (5e-4, "paper", "sec. 5.2: The learning rate starts at 0.0005"),
    "training.optimizer.weight_decay": (5e-4, "paper", "sec. 5.2: weight decay of 0.0005"),
}
RELATIONAL: Rows = {
    **RELATIONAL_NETWORK,
    "model.dropout": (0.8, "paper", "sec. 5.2: dropout rate to 0.8"),
    "training.epochs": (50, "paper", "sec. 5.2: for 50 epochs"),
    "training.milestones": ([35, 45], "paper", "sec. 5.2: after 35-th epoch and 45-th epoch"),
    **{f"flow_stream.{path}": row for path, row in RELATIONAL_NETWORK.items()},
    "flow_stream.model.dropout": (0.7, "paper", "sec. 5.2: dropout rate to 0.7"),
    "flow_stream.training.epochs": (60, "paper", "sec. 5.2: for 60 epochs"),
    "flow_stream.training.milestones": ([45, 55], "paper", "sec. 5.2: after 45-th epoch and 55-th epoch"),
    "backbone.end_to_end.snippets": (8, "paper", "sec. 5.2: T = 8"),
    "flow.bound": (20, "ours", "TSN's"),
    "flow.stack": (10, "paper", "sec. 4: sequences of 10 optical flow fields"),
    "evaluation.frames": (8, "paper", "sec. 5.2: T = 8 segments by default"),
    "evaluation.positions": (4, "paper", "sec. 5.2: 4 groups by sampling from 4 positions"),
}


def falling(prefix: str, whose: str, words: str, iterations: int, milestones: list[int]) -> Rows:
    """A length in iterations, and a rate that is divided by 10 after some."""
    values = {"iterations": iterations, "schedule.milestones": milestones, "schedule.factor": 0.1}
    return {f"{prefix}{path}": (value, whose, words) for path, value in values.items()}


MEMORY_NETWORK: Rows = {
    "model.threshold": (0.5, "paper", "Discrete Memory Controller: set to 0.5 in our experiments"),
    "training.batch_size": (64, "paper", "Implementation Details: The mini-batch size is set to 64"),
    "training.optimizer.weight_decay": (5e-4, "ours", "TSN's"),
    "training.optimizer.clip_norm": (20, "paper", "Implementation Details: gradient clipping of 20"),
}
MEMORY: Rows = {
    **MEMORY_NETWORK,
    **falling(
        "training.",
        "paper",
        "Implementation Details: every 6,000 iterations, stops after 18,000",
        18_000,
        [6_000, 12_000],
    ),
    **falling(
        "flow_stream.training.",
        "paper",
        "Implementation Details: after 48,000 and 72,000; maximum of 80,000",
        80_000,
        [48_000, 72_000],
    ),
    "model.dropout": (0.8, "ours", "TSN's"),
    "training.optimizer.learning_rate": (1e-3, "paper", "Implementation Details: initialized as 0.001"),
    **{f"flow_stream.{path}": row for path, row in MEMORY_NETWORK.items()},
    "flow_stream.model.dropout": (0.7, "ours", "TSN's"),
    "flow_stream.training.optimizer.learning_rate": (5e-3, "paper", "Implementation Details: initialize ... as 0.005"),
    "backbone.end_to_end.snippets": (8, "ours", ""),
    "flow.bound": (20, "ours", "TSN's"),
    "flow.stack": (5, "ours", "TSN's"),
    "evaluation.frames": (25, "ours", "of the standard two-stream method, which the paper follows without a number"),
}
TSN_NETWORK: Rows = {
    "model.segments": (3, "code", "README: num_segments 3"),
    "training.batch_size": (128, "code", "README: -b 128"),
    "training.optimizer.weight_decay": (5e-4, "code", "solvers: weight_decay: 0.0005"),
}
TSN: Rows = {
    **TSN_NETWORK,
    **falling("training.", "code", "rgb solver of 14 September 2016", 3_500, [1_500, 3_000]),
    **falling("flow_stream.training.", "code", "flow solver of 14 September 2016", 18_000, [10_000, 16_000]),
    "model.dropout": (0.8, "code", "README: dropout 0.8"),
    "training.optimizer.learning_rate": (1e-3, "code", "rgb solver: base_lr: 0.001"),
    "training.optimizer.clip_norm": (40, "code", "rgb solver: clip_gradients: 40"),
    **{f"flow_stream.{path}": row for path, row in TSN_NETWORK.items()},
    "flow_stream.model.dropout": (0.7, "code", "README: dropout 0.7"),
    "flow_stream.training.optimizer.learning_rate": (5e-3, "code", "flow solver: base_lr: 0.005"),
    "flow_stream.training.optimizer.clip_norm": (20, "code", "flow solver: clip_gradients: 20"),
    "backbone.end_to_end.snippets": (3, "code", "README: num_segments 3"),
    "flow.bound": (20, "code", "bound 20"),
    "flow.stack": (5, "code", "new_length 5"),
    "evaluation.frames": (25, "code", "test_segments 25"),
    "fusion.rgb": (1, "code", "score weights 1"),
    "fusion.flow": (1.5, "code", "and 1.5"),
}
WEIGHTS = {"ucf101": (0.45, 0.55), "hmdb51": (0.33, 0.67)}  # Relational LSTM, caption of Table 5


def relational(dataset: str) -> Rows:
    rgb, flow = WEIGHTS[dataset]
    own = {"fusion.rgb": (rgb, "paper", "Table 5, caption"), "fusion.flow": (flow, "paper", "Table 5, caption")}
    return {**RELATIONAL, **own}


def on_hmdb51(rows: Rows, *parts: str) -> Rows:
    """The same where parts start from what UCF101's recipe trains."""
    return {**rows, **{f"{part}.weights.split": (1, "ours", "") for part in parts}}


def without(rows: Rows, *starts: str) -> Rows:
    return {path: row for path, row in rows.items() if not path.startswith(starts)}


CONVNETS = ("backbone", "flow_stream.backbone")
TWO_STREAM = without(TS_LSTM, "model.")
ONE_FIELD: Rows = {"flow.stack": (1, "ours", "as VideoLSTM's ConvNet")}
VIDEO_CONVNET = without(VIDEO, "training.", "evaluation.") | {
    "evaluation.frames": (25, "ours", "as the other networks")
}
MOTION_ALSTM = trained(400)
VECTOR_LSTM: Rows = {
    **trained(200),
    "model.hidden": ([512], "paper", "sec. 5.2: a single layer with 512 hidden units"),
    "model.fc_dim": (1024, "paper", "sec. 5.2: an output layer which has 1,024 units"),
    "model.dropout": (0.5, "code", "twice 0.5; sec. 5.2 has a ratio of 0.7"),
}
ASSEMBLED: Rows = {
    **trained(400, 300),
    "model.weights": (
        [
            {"recipe": "video_lstm_ucf101"},
            {"recipe": "conv_lstm_ucf101", "stream": "flow", "into": "motion"},
            {"recipe": "conv_alstm_ucf101", "stream": "rgb", "into": "appearance"},
        ],
        "code",
        "assembles the motion network from trained parts",
    ),
}
STANDALONE: Rows = {
    **RELATIONAL,
    "splits": ([1], "paper", "Table 1: split 1"),
    "flow_stream.backbone.end_to_end.snippets": (8, "paper", "sec. 5.2: T = 8"),
    "fusion.rgb": (0.5, "paper", "Table 1, caption"),
    "fusion.flow": (0.5, "paper", "Table 1, caption"),
}
TSN_V2: Rows = {
    **TSN,
    "splits": ([1], "paper", "Table 1: split 1"),
    "flow.stack": (10, "paper", "sec. 4: sequences of 10 optical flow fields"),
    "fusion.rgb": (0.35, "paper", "Table 1, caption"),
    "fusion.flow": (0.65, "paper", "Table 1, caption"),
}
TWO_LAYERS: Rows = {"model.hidden": ([512, 512], "paper", "sec. 4.2: two-layer LSTM; Table 3: (512, 512)")}
TABLE: dict[str, Rows] = {
    "ts_lstm_ucf101": TS_LSTM,
    "ts_lstm_hmdb51": on_hmdb51({**TS_LSTM, **TWO_LAYERS}, *CONVNETS),
    "two_stream_ucf101": TWO_STREAM,
    "two_stream_hmdb51": on_hmdb51(TWO_STREAM, *CONVNETS),
    "temporal_inception_ucf101": TEMPORAL_INCEPTION,
    "temporal_inception_hmdb51": on_hmdb51(TEMPORAL_INCEPTION, *CONVNETS),
    "video_lstm_ucf101": trained(400, 300),
    "conv_alstm_ucf101": trained(300),
    "conv_lstm_ucf101": trained(200, 300),
    "alstm_ucf101": trained(200),
    "lstm_ucf101": VECTOR_LSTM,
    "convnet_ucf101": VIDEO_CONVNET,
    "motion_alstm_ucf101": MOTION_ALSTM,
    "video_lstm_hmdb51": on_hmdb51(trained(400, 300), *CONVNETS, "model", "flow_stream.model"),
    "conv_alstm_hmdb51": on_hmdb51(trained(300), *CONVNETS, "model"),
    "conv_lstm_hmdb51": on_hmdb51(trained(200, 300), *CONVNETS, "model"),
    "alstm_hmdb51": on_hmdb51(trained(200), *CONVNETS, "model"),
    "lstm_hmdb51": on_hmdb51(VECTOR_LSTM, *CONVNETS, "model"),
    "convnet_hmdb51": on_hmdb51(VIDEO_CONVNET, *CONVNETS),
    "motion_alstm_hmdb51": on_hmdb51(MOTION_ALSTM, *CONVNETS, "model"),
    "video_lstm_assembled_ucf101": ASSEMBLED,
    "relational_lstm_ucf101": relational("ucf101"),
    "relational_lstm_hmdb51": relational("hmdb51"),
    "relational_lstm_local_ucf101": relational("ucf101"),
    "relational_lstm_nonlocal_ucf101": relational("ucf101"),
    "relational_lstm_standalone_ucf101": STANDALONE,
    "tsn_resnet101_v2_ucf101": TSN_V2,
    "memory_ucf101": MEMORY,
    "memory_hmdb51": MEMORY,
    "memory_vgg16_ucf101": {**MEMORY, **ONE_FIELD},
    "memory_vgg16_hmdb51": {**MEMORY, **ONE_FIELD},
    "memory_vgg16_tsn_ucf101": MEMORY,
    "memory_vgg16_tsn_hmdb51": MEMORY,
    "tsn_ucf101": TSN,
    "tsn_hmdb51": TSN,
    "tsn_bn_inception_ucf101": TSN,
    "tsn_bn_inception_hmdb51": TSN,
}
PAPERS = [name for name in RECIPES if not name.startswith("demo")]


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, f"{path}.{name}" if path else name)
    elif isinstance(value, (int, float, list)) and not isinstance(value, bool):
        yield path, value


def stated(name: str) -> dict[str, object]:
    """The numbers that a recipe states itself."""
    return dict(numbers(RECIPES[name].spec.model_dump(mode="json", exclude_unset=True)))


def test_every_paper_recipe_has_its_table() -> None:
    assert list(TABLE) == PAPERS


@pytest.mark.parametrize("name", PAPERS)
def test_numbers_are_those_of_the_paper_or_say_whose_they_are(name: str) -> None:
    expected = {path: row[0] for path, row in TABLE[name].items()}
    assert stated(name) == expected
    assert {row[1] for row in TABLE[name].values()} <= {"paper", "code", "ours"}


def test_flow_and_rgb_of_ts_lstm_start_at_rates_of_their_own() -> None:
    """TS-LSTM, sec. 3.4.1: 5e-6 and 5e-3; its code starts both at 5e-4."""
    for name in ("ts_lstm_ucf101", "ts_lstm_hmdb51", "two_stream_ucf101", "temporal_inception_ucf101"):
        backbones = [network.backbones for network in RECIPES[name].spec.networks]
        rates = {stream: spec.finetune.optimizer.learning_rate for own in backbones for stream, spec in own.items()}
        assert rates == {"rgb": 5e-6, "flow": 5e-3}
