"""Where a recipe differs from its paper, by name; what a paper leaves open and we chose stands in the recipes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_LAST_EPOCH = "the last epoch is tested; the published figures are of the best epoch on the test list"
_TS_LSTM = {
    "selection": _LAST_EPOCH,
    "crop": "no sub-image of 256x256 is cropped first (sec. 3.4.1): the code does not, and crops from the whole frame",
}
_TEMPORAL_INCEPTION = {
    **_TS_LSTM,
    "last_pool": "the last module pools by three, as in the code; each halves the time in the paper (sec. 3.3)",
}
_VIDEO_LSTM = {"selection": _LAST_EPOCH}
_LEARNED_STATE = {**_VIDEO_LSTM, "state": "the first state is learned, as in the code; the paper has none"}
_DROPOUT = "0.5 as in the code; 0.7 in the paper (VideoLSTM, sec. 5.2) after the LSTM"
_ASSEMBLED = {
    **_LEARNED_STATE,
    "start": "assembled from trained parts, as in the code; the paper trains the network at once",
}
_AT_ONCE = {
    **_LEARNED_STATE,
    "start": "the motion network is trained at once; the code assembles it from trained parts and goes on",
}
_MATDL = {"memory": "the memory's history is the mean of its items, as in the text; equation 1 of MATDL has their sum"}
_RELATIONAL_LSTM = {
    "weights": "those of timm's ResNet-101-v2, since the paper does not say whose its own are",
    "flow": "algorithm and bound are TSN's, since the paper does not say how flow is computed",
}
_TSN = {"backbone": "ResNet-101 in place of bn_inception, whose weights no kept package offers"}

_OF_UCF101: Mapping[str, Mapping[str, str]] = {
    "ts_lstm": _TS_LSTM,
    "two_stream": _TS_LSTM,
    "temporal_inception": _TEMPORAL_INCEPTION,
    "video_lstm": _AT_ONCE,
    "conv_alstm": _LEARNED_STATE,
    "conv_lstm": _VIDEO_LSTM,
    "alstm": {**_LEARNED_STATE, "dropout": _DROPOUT},
    "lstm": {**_VIDEO_LSTM, "dropout": _DROPOUT},
    "motion_alstm": {**_LEARNED_STATE, "dropout": _DROPOUT},
    "video_lstm_assembled": _ASSEMBLED,
    "relational_lstm": _RELATIONAL_LSTM,
    "relational_lstm_local": _RELATIONAL_LSTM,
    "relational_lstm_nonlocal": _RELATIONAL_LSTM,
    "relational_lstm_standalone": _RELATIONAL_LSTM,
    "tsn_resnet101_v2": {
        **_RELATIONAL_LSTM,
        "training": "TSN's released solvers, since Relational LSTM does not say how it trains TSN",
    },
    "memory": _MATDL,
    "memory_vgg16": _MATDL,
    "memory_vgg16_tsn": _MATDL,
    "tsn": _TSN,
    "tsn_bn_inception": {"weights": "none: those of TSN's own ImageNet network are kept in no package; name a file"},
}
_ON_HMDB51 = frozenset(_OF_UCF101) - {
    "video_lstm_assembled",
    "relational_lstm_local",
    "relational_lstm_nonlocal",
    "relational_lstm_standalone",
    "tsn_resnet101_v2",
}
DEVIATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        **{f"{name}_ucf101": MappingProxyType(dict(found)) for name, found in _OF_UCF101.items()},
        **{f"{name}_hmdb51": MappingProxyType(dict(_OF_UCF101[name])) for name in sorted(_ON_HMDB51)},
    }
)
"""By recipe and name."""
