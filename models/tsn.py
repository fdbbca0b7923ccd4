"""Temporal Segment Network: snippets of equal parts of a video, one ConvNet, consensus by average."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.backbones.base import Backbone
from models.parts.frame_classifier import FrameClassifier
from models.parts.masking import lengths_of, pool
from models.parts.options import Count, Share
from models.parts.output import Output
from models.parts.segments import draw_from_segments


class TSN(nn.Module):
    """Class scores of snippets, averaged before the softmax.

    In training, one snippet of each of S equal parts of a clip, at random; a clip of S snippets is taken whole. In
    the test all snippets are averaged.

    Args:
        num_classes: K.
        feature_dim: D; None for that of the backbone.
        backbone: gives features of a snippet; None where the input is its features.
        segments: S, 3 in TSN's released models.
        dropout: share of features dropped: 0.8 for rgb and 0.7 for flow in TSN's code.
        partial_batch_norm: freeze statistics, scale and shift of every batch norm of the backbone but the first.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int | None = None,
        backbone: Backbone | None = None,
        segments: Count = 3,
        dropout: Share = 0.8,
        partial_batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.segments = segments
        self.convnet = FrameClassifier(
            num_classes=num_classes, feature_dim=feature_dim, backbone=backbone, dropout=dropout
        )
        nn.init.normal_(self.convnet.classifier.weight, std=0.001)  # TSN's code
        nn.init.zeros_(self.convnet.classifier.bias)
        self.frozen = _all_but_the_first_batch_norm(backbone) if backbone is not None and partial_batch_norm else []
        for norm in self.frozen:
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and leave frozen batch norms in evaluation."""
        super().train(mode)
        for norm in self.frozen:
            norm.eval()
        return self

    def forward(self, snippets: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            snippets: ``(N, T, C, H, W)``, C = 3 or 2L; without a backbone their features ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid snippets first.

        Returns:
            Logits ``(N, K)``, the mean over snippets.

        Raises:
            ValueError: in training, if a clip has fewer than S snippets.
        """
        lengths = None if mask is None else lengths_of(mask)
        if self.training:
            snippets, mask = draw_from_segments(snippets, self.segments, lengths), None
        return Output(pool(self.convnet(snippets, mask).logits, "mean", mask))


def _all_but_the_first_batch_norm(backbone: nn.Module) -> list[_BatchNorm]:
    return [module for module in backbone.modules() if isinstance(module, _BatchNorm)][1:]
