"""Where a recipe differs from its paper, by name; what a paper leaves open and we chose stands in the recipes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

RELATIONAL_LSTM = MappingProxyType(
    {
        "weights": "those of timm's ResNet-101-v2, since the paper does not say whose its own are",
        "flow": "algorithm and bound are TSN's, since the paper does not say how flow is computed",
    }
)
DEVIATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "tsn_ucf101": {
            "backbone": "ResNet-101 in place of bn_inception, whose weights no kept package offers",
        },
        "video_lstm_ucf101": {
            "start": "the motion network is trained at once; the code assembles it from trained parts and goes on",
        },
        "relational_lstm_ucf101": RELATIONAL_LSTM,
        "relational_lstm_hmdb51": RELATIONAL_LSTM,
    }
)
"""By recipe and name."""
