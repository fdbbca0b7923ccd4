"""A frame-level classifier: a backbone and one linear layer (the spatial and temporal ConvNets of 001, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from models.backbones.base import Backbone
from models.output import Output


class ConvNet(nn.Module):
    """A backbone, dropout, and a linear layer.

    Args:
        backbone: gives features of width D for a frame or a flow stack.
        num_classes: K.
        dropout: share of features dropped, 0 to 1.
    """

    def __init__(self, backbone: Backbone, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(backbone.feature_dim, num_classes)

    def forward(self, frames: Tensor) -> Output:
        """Classify ``frames (N, C, H, W)``, C = 3 or 2L; logits are ``(N, K)``."""
        return Output(self.classifier(self.dropout(self.backbone(frames))))
