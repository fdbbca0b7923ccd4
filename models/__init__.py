"""Networks: one architecture a file, flat keyword arguments, tensors in and a small named result out.

No module here reads a file, a spec or a stage. Shapes follow the repository's legend: N videos, T time steps,
S segments, C channels, H W height and width, D feature width, K classes, L flow fields in a stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from models.alstm import ALSTM
from models.conv_alstm import ConvALSTM
from models.conv_lstm import ConvLSTM
from models.convnet import ConvNet
from models.loading import load
from models.lstm import LSTM
from models.memory import MemoryNetwork
from models.motion_alstm import MotionALSTM
from models.parts.options import Count, require
from models.parts.output import Output
from models.pooling import MaxPooling, MeanPooling
from models.registry import Inputs, NetworkKind, Shape, feature_arguments, require_options
from models.relational_lstm import RelationalLSTMNetwork
from models.temporal_convnet import TemporalConvNet
from models.ts_lstm import TSLSTM
from models.tsn import TSN
from models.video_lstm import VideoLSTM

__all__ = ["KINDS", "ConvNet", "Inputs", "NetworkKind", "Output", "build", "load"]

KINDS: Mapping[str, NetworkKind] = MappingProxyType(
    {
        "convnet": NetworkKind(ConvNet),
        "tsn": NetworkKind(TSN),
        "mean_pooling": NetworkKind(MeanPooling),
        "max_pooling": NetworkKind(MaxPooling),
        "lstm": NetworkKind(LSTM),
        "ts_lstm": NetworkKind(TSLSTM),
        "temporal_convnet": NetworkKind(TemporalConvNet),
        "alstm": NetworkKind(ALSTM, "map"),
        "conv_lstm": NetworkKind(ConvLSTM, "map"),
        "conv_alstm": NetworkKind(ConvALSTM, "map"),
        "memory": NetworkKind(MemoryNetwork),
        "relational_lstm": NetworkKind(RelationalLSTMNetwork, "map"),
        "motion_alstm": NetworkKind(MotionALSTM, "rgb+flow", {"rgb": "map", "flow": "vector"}),
        "video_lstm": NetworkKind(VideoLSTM, "rgb+flow", {"rgb": "map", "flow": "map"}),
    }
)
"""Networks by the name that an experiment's ``model.kind`` gives them."""


def build(
    kind: str,
    *,
    num_classes: int,
    feature_shape: Shape | Mapping[str, Shape] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network that maps features and an optional ``mask (N, T)`` to an ``Output``.

    Gradients are right however autograd is used: several backward passes through one graph, gradients of a part of the
    inputs or outputs, many gradients at once. ``torch.func`` (grad, vmap with one mask for all, jvp) and forward mode
    give the same numbers more slowly, in evaluation; in training they refuse batch norms that write statistics, as
    PyTorch's own do. Second derivatives exist except for ``relational_lstm`` with fused attention and for ``lstm`` and
    ``ts_lstm`` with cuDNN, whose error messages name the alternative.

    Args:
        kind: a key of ``KINDS``, which has the form of its features.
        num_classes: K.
        feature_shape: features without N and T: ``(D,)`` or ``(C, H, W)``, D or C the sum over streams whose features
            are concatenated, or a mapping of streams to such shapes for a network that takes the streams apart.
        options: keyword arguments of that architecture.

    Raises:
        ValueError: if no architecture has that name, it takes other features, or a value is not allowed; the message
            names the argument, the value and what is allowed.
        TypeError: if the architecture has no such option.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, allowed: {', '.join(sorted(KINDS))}")
    found = KINDS[kind]
    require("num_classes", num_classes, Count)
    features = feature_arguments(found, feature_shape)
    require_options(kind, found.options, options)
    return found.network(num_classes=num_classes, **features, **options)
