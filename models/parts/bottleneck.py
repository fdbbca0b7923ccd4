"""The last unit of ResNet-101-v2 (conv5_3) with the pooling after it: arXiv 1603.05027; Relational LSTM, section 4."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.moving_batch_norm import MOMENTUM, MovingBatchNorm2d


class PreActBottleneck(nn.Module):
    """Three convolutions, each after batch norm and ReLU, added to their input; submodules are named as timm's.

    Args:
        channels: C, 2048 in conv5_3.
        width: channels of the two inner feature maps, 512 in conv5_3.
        momentum: of the moving batch norms.
    """

    def __init__(self, channels: int, width: int, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.norm1 = MovingBatchNorm2d(channels, momentum=momentum)
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.norm2 = MovingBatchNorm2d(width, momentum=momentum)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm3 = MovingBatchNorm2d(width, momentum=momentum)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn ``(N, C, H, W)`` into the same shape; ``mask (N,)`` is True where a sample counts for statistics."""
        y: Tensor = self.conv1(F.relu(self.norm1(x, mask)))
        y = self.conv2(F.relu(self.norm2(y, mask)))
        y = self.conv3(F.relu(self.norm3(y, mask)))
        return x + y


class Conv53(nn.Module):
    """conv5_3, batch norm, ReLU, and the mean over positions.

    Args:
        channels: C.
        width: inner channels of the unit.
        momentum: of the moving batch norms.
    """

    def __init__(self, channels: int, width: int, momentum: float = MOMENTUM) -> None:
        super().__init__()
        self.unit = PreActBottleneck(channels, width, momentum)
        self.norm = MovingBatchNorm2d(channels, momentum=momentum)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Turn ``(N, C, H, W)`` into ``(N, C)``; ``mask (N,)`` is True where a sample counts for statistics."""
        return F.relu(self.norm(self.unit(x, mask), mask)).mean((2, 3))
