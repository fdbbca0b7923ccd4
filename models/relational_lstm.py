"""The Relational LSTM, its local branch, and both side by side (sections 3 and 4 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from models.backbones.base import Backbone
from models.parts.bottleneck import Conv53
from models.parts.frame_classifier import frame_features
from models.parts.masking import pool, without_padding
from models.parts.moving_batch_norm import MOMENTUM, with_moving_statistics
from models.parts.options import Count, Hidden, Momentum, Share, one_width
from models.parts.output import Output
from models.parts.relational_module import RelationalModule, per_step
from models.parts.segments import step_of_segments

# Where ResNet-101-v2 keeps the pretrained parts of the local branch in timm's weight files.
TIMM_UNIT, TIMM_NORM = "stages.3.blocks.2.", "norm."


class RelationalLSTMNetwork(nn.Module):
    """The two-branch network of the paper, or either branch alone.

    Local branch: conv5_3, batch norm, ReLU and mean over positions of every step, and the mean over steps. Non-local
    branch: Relational LSTM over the steps, 1x1 convolution of its last state, conv5_3, batch norm, ReLU and mean over
    positions. Both vectors side by side, dropout, linear. All batch norms are ``MovingBatchNorm2d`` (section 5.2).

    Args:
        num_classes: K.
        feature_shape: ``(C, H, W)`` of the maps, (2048, 7, 7) in the paper.
        backbone: gives the maps where the input is clips, cut off after them (``conv5_2`` of ``resnet101_v2``,
            section 4: "after ResNet-101-v2 conv5_2 layer").
        branches: ``both`` (Table 2), ``local`` (Table 3) or ``non-local`` (Table 1).
        segments: S, steps that the network sees: one of each of S equal parts of a clip, at random in training and the
            middle one in the test; 6, 8, 10 or 12 in Table 2. A part shorter than a step repeats one. None for all.
        hidden: channels of the state; None for C / 2 (section 3).
        embedding: channels of theta and phi; None for those of the state. The paper does not say; the public
            non-local networks do so.
        bias: of the embeddings and the 1x1 convolution. The equations have none, the public non-local networks have
            one; the default is ours.
        shared_theta: one theta for both relations of a gate, a narrower reading of the r of equation 3.
        width: inner channels of conv5_3; None for C / 4, as in ResNet.
        momentum: of the moving batch norms, 0.001 or 0.0005 (section 5.2).
        dropout: share dropped before the linear layer: 0.8 for rgb, 0.7 for flow (section 5.2).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_shape: Sequence[int],
        backbone: Backbone | None = None,
        branches: Literal["both", "local", "non-local"] = "both",
        segments: Count | None = 8,
        hidden: Hidden | None = None,
        embedding: Count | None = None,
        bias: bool = True,
        shared_theta: bool = False,
        width: Count | None = None,
        momentum: Momentum = MOMENTUM,
        dropout: Share = 0.8,
    ) -> None:
        super().__init__()
        channels = feature_shape[0]
        inner = max(1, channels // 4) if width is None else width
        state = max(1, channels // 2) if hidden is None else one_width(hidden)
        self.segments = segments
        self.backbone = backbone
        if backbone is not None:
            with_moving_statistics(backbone, momentum)
        self.local = Conv53(channels, inner, momentum) if branches != "non-local" else None
        self.relational = self.non_local = None
        if branches != "local":
            self.relational = RelationalModule(
                channels,
                state,
                embedding=state if embedding is None else embedding,
                bias=bias,
                shared_theta=shared_theta,
                momentum=momentum,
            )
            self.non_local = xavier(Conv53(channels, inner, momentum))  # section 5.2; the local one is pretrained
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels * (2 if branches == "both" else 1), num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            features: maps ``(N, T, C, H, W)``; with a backbone clips ``(N, T, 3 or 2L, H, W)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, K)`` and the embedding ``(N, C)`` or ``(N, 2C)``, local before non-local.
        """
        if self.segments is None:
            x = without_padding(features, mask)
        else:
            x, mask = step_of_segments(features, self.segments, mask, share=None if self.training else 0.5), None
        if self.backbone is not None:
            x = frame_features(self.backbone, x, mask)
        parts = []
        if self.local is not None:
            vectors = self.local(x.flatten(0, 1), None if mask is None else mask.flatten())
            parts.append(pool(per_step(vectors, *x.shape[:2]), "mean", mask))
        if self.relational is not None and self.non_local is not None:
            parts.append(self.non_local(self.relational(x, mask)))
        embedding = torch.cat(parts, 1)
        return Output(self.classifier(self.dropout(embedding)), embedding=embedding)

    def load_local(self, state: Mapping[str, Tensor]) -> None:
        """Start the local branch from conv5_3 and the last batch norm of timm's ResNet-101-v2 (section 5.2).

        Raises:
            ValueError: if there is no local branch.
            RuntimeError: if names or shapes differ.
        """
        if self.local is None:
            raise ValueError("branches: got 'non-local', allowed: 'local' or 'both' where pretrained weights are given")
        for part, prefix in ((self.local.unit, TIMM_UNIT), (self.local.norm, TIMM_NORM)):
            own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            part.load_state_dict(own)


def xavier(module: Conv53) -> Conv53:
    """Draw the convolutions of a new unit as the paper does (section 5.2: Xavier-Glorot)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
    return module
