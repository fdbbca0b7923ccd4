"""What all backbones share: a network, the name of its first convolution, and how its input is normalised."""

from __future__ import annotations

from torch import Tensor, nn

RGB_MEAN, RGB_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of ImageNet
# Flow in 0..1, zero motion at 128/255. 001's code has about (.493, .421) and (.060, .058), measured on UCF101 after a
# rescaling of each frame that we leave out (systems.md 3.2), so here the centre is exact and both components alike.
FLOW_MEAN, FLOW_STD = 128 / 255, 0.06


class Backbone(nn.Module):
    """A ConvNet without its classifier.

    Args:
        network: maps ``(N, C, H, W)`` to ``(N, D)``.
        feature_dim: D.
        input_size: height and width that it expects, in pixels.
        channels: C, 3 for rgb or 2L for flow.
        first_conv: state-dict name of the first convolution's kernel.
        head: prefix of the classifier's names in the library's state dicts.

    Attributes:
        mean: what to subtract from each channel of an input in 0..1.
        std: what to divide each channel by.
    """

    def __init__(
        self, network: nn.Module, *, feature_dim: int, input_size: int, channels: int, first_conv: str, head: str
    ) -> None:
        super().__init__()
        self.network = network
        self.feature_dim, self.input_size, self.channels = feature_dim, input_size, channels
        self.first_conv, self.head = first_conv, head
        self.mean = RGB_MEAN if channels == 3 else (FLOW_MEAN,) * channels
        self.std = RGB_STD if channels == 3 else (FLOW_STD,) * channels

    def forward(self, x: Tensor) -> Tensor:
        """Turn ``x (N, C, H, W)``, normalised, into features ``(N, D)``."""
        features: Tensor = self.network(x)
        return features
