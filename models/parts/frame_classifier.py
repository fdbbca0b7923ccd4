"""A backbone and a linear layer, frame by frame."""

from __future__ import annotations

from torch import Tensor, nn

from models.backbones.base import Backbone
from models.parts.masking import lengths_of, without_padding
from models.parts.options import Share
from models.parts.output import Output


class FrameClassifier(nn.Module):
    """A backbone, dropout, and a linear layer.

    The backbone is built for rgb or for flow, with its first convolution fitted to 2L channels
    (``models.backbones.build``).

    Args:
        num_classes: K.
        feature_dim: D; None for that of the backbone.
        backbone: gives features of width D for a frame or a flow stack; None where the input is its features.
        dropout: share of features dropped.

    Raises:
        ValueError: if there is neither D nor a backbone, or D is not that of the backbone.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int | None = None,
        backbone: Backbone | None = None,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(feature_width(feature_dim, backbone), num_classes)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Output:
        """Classify frame by frame.

        Args:
            frames: ``(N, C, H, W)`` or clips ``(N, T, C, H, W)``, C = 3 or 2L; without a backbone ``(N, D)`` or
                ``(N, T, D)``.
            mask: ``(N, T)`` bool, valid frames first.

        Returns:
            Logits ``(N, K)``, or ``(N, T, K)`` of clips.
        """
        if mask is not None:
            lengths_of(mask)
        x = without_padding(frames, mask) if self.backbone is None else frame_features(self.backbone, frames, mask)
        return Output(without_padding(self.classifier(self.dropout(x)), mask))


def feature_width(feature_dim: int | None, backbone: Backbone | None) -> int:
    """Return D of the features, which the backbone gives where there is one.

    Raises:
        ValueError: if there is neither, or the two differ.
    """
    if backbone is None:
        if feature_dim is None:
            raise ValueError("feature_dim: got None, allowed: a whole number from 1, or None with a backbone")
        return feature_dim
    if feature_dim not in {None, backbone.feature_dim}:
        raise ValueError(f"feature_dim: got {feature_dim}, allowed: {backbone.feature_dim}, that of the backbone")
    return backbone.feature_dim


def frame_features(backbone: Backbone, frames: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the features of frames, vectors or maps.

    Args:
        backbone: gets valid frames only, so that padding has no part in the statistics of a batch norm either.
        frames: ``(N, C, H, W)``, or clips ``(N, T, C, H, W)``.
        mask: ``(N, T)`` bool of clips, True where a frame is valid.

    Returns:
        ``(N, ...)``, or ``(N, T, ...)`` of clips, with zeros where a clip is padded.
    """
    if mask is None:
        features: Tensor = backbone(frames.flatten(0, -4))
        return features.view(*frames.shape[:-3], *features.shape[1:])
    found: Tensor = backbone(frames[mask])
    valid = mask.reshape(*mask.shape, *[1] * (found.ndim - 1))
    return found.new_zeros(*mask.shape, *found.shape[1:]).masked_scatter(valid, found)
