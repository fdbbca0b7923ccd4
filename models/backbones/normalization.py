"""What the papers' released code makes of the input of a ConvNet, for weights that came from there."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

Values = tuple[float, ...]


class Normalization(NamedTuple):
    """What is subtracted from values in 0..1 and by what they are divided then, for each stream.

    Attributes:
        rgb_mean: of red, green and blue.
        rgb_std: likewise.
        flow_mean: of x and y.
        flow_std: likewise.
        rgb_turned: so many channels the weights expect the other way round: 3 for blue first, 1 for none.
        flow_turned: likewise, 2 for y before x.
    """

    rgb_mean: Values
    rgb_std: Values
    flow_mean: Values
    flow_std: Values
    rgb_turned: int = 1
    flow_turned: int = 1

    def of(self, channels: int) -> tuple[Values, Values]:
        """Return mean and deviation of each channel: 3 of rgb, or 2L of flow (x1, y1, x2, y2, ...)."""
        if channels == 3:
            return self.rgb_mean, self.rgb_std
        return self.flow_mean * (channels // 2), self.flow_std * (channels // 2)

    def turned(self, channels: int) -> int:
        """Return how many channels the weights expect the other way round (`Backbone.turned`)."""
        return self.rgb_turned if channels == 3 else self.flow_turned


_LEVEL = 1 / 255
_CENTRE, _LEVELS = (128 * _LEVEL,) * 2, (_LEVEL,) * 2  # of flow: minus 128, in levels of 255

NORMALIZATIONS: Mapping[str, Normalization] = MappingProxyType(
    {
        # TS-LSTM: measured on UCF101; its loader gives flow as (y, x), 0.493 and 0.060 being those of y
        "ts_lstm": Normalization(
            rgb_mean=(0.3974, 0.3885, 0.3517),
            rgb_std=(0.2415, 0.2348, 0.2307),
            flow_mean=(0.421, 0.493),
            flow_std=(0.058, 0.060),
            flow_turned=2,
        ),
        # VideoLSTM: blue first, minus the mean (its released code)
        "video_lstm": Normalization(
            (123 * _LEVEL, 117 * _LEVEL, 104 * _LEVEL), (_LEVEL,) * 3, _CENTRE, _LEVELS, rgb_turned=3
        ),
        # tsn-pytorch's BNInception: likewise
        "tsn": Normalization((128 * _LEVEL, 117 * _LEVEL, 104 * _LEVEL), (_LEVEL,) * 3, _CENTRE, _LEVELS, rgb_turned=3),
    }
)
