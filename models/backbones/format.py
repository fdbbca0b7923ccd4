"""What a ConvNet takes: size and channels of its input, and how it is normalised, by its library or a released code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

Values = tuple[float, ...]


@dataclass(frozen=True)
class InputFormat:
    """Frames ``(N, 3, size, size)`` or stacks of L flow fields ``(N, 2L, size, size)`` as a ConvNet takes them.

    Attributes:
        size: height and width in pixels.
        channels: 3 for rgb, 2L for flow (x1, y1, x2, y2, ...).
        mean: what is subtracted from values in 0..1: of red, green and blue, of x and y of every field, or one for all.
        std: what they are divided by then, likewise.
    """

    size: int
    channels: int
    mean: Values
    std: Values

    @property
    def num_bytes(self) -> int:
        """Of a frame, or stack, as uint8."""
        return self.channels * self.size**2


class Normalization(NamedTuple):
    """What is subtracted from values in 0..1 and by what they are divided then, for each stream.

    Attributes:
        rgb_mean: of red, green and blue.
        rgb_std: likewise.
        flow_mean: of x and y.
        flow_std: likewise.
        rgb_turned: how many channels the weights expect in reverse order: 3 for blue first, 1 for none.
        flow_turned: likewise, 2 for y before x.
    """

    rgb_mean: Values
    rgb_std: Values
    flow_mean: Values
    flow_std: Values
    rgb_turned: int = 1
    flow_turned: int = 1

    def of(self, size: int, channels: int) -> InputFormat:
        """Return the format of inputs of a size: 3 channels of rgb, or 2L of flow."""
        if channels == 3:
            return InputFormat(size, channels, self.rgb_mean, self.rgb_std)
        return InputFormat(size, channels, self.flow_mean, self.flow_std)

    def turned(self, channels: int) -> int:
        """Return how many channels the weights expect in reverse order (`Backbone.turned`)."""
        return self.rgb_turned if channels == 3 else self.flow_turned


_LEVEL = 1 / 255
_CENTRE, _LEVELS = (128 / 255,) * 2, (_LEVEL,) * 2  # of flow: minus 128, which is no motion, in levels of 255

IMAGENET = Normalization(
    rgb_mean=(0.485, 0.456, 0.406),  # torchvision's
    rgb_std=(0.229, 0.224, 0.225),
    # TS-LSTM's code has about (.493, .421) and (.060, .058), measured on UCF101 after a rescaling of each frame that we
    # leave out, so here the centre is exact and both components alike.
    flow_mean=_CENTRE,
    flow_std=(0.06,) * 2,
)

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
        "video_lstm": Normalization((123 / 255, 117 / 255, 104 / 255), (_LEVEL,) * 3, _CENTRE, _LEVELS, rgb_turned=3),
        # TSN, and tsn-pytorch's BN-Inception: likewise; (104, 117, 128) of blue, green and red
        "tsn": Normalization((128 / 255, 117 / 255, 104 / 255), (_LEVEL,) * 3, _CENTRE, _LEVELS, rgb_turned=3),
    }
)
"""What the papers' released code makes of the input, for weights that came from there."""
