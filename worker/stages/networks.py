"""Builds the network of a spec for the features that are there, or together with a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

import models
from models.backbones import Backbone
from models.backbones.weights import cross_modality, differences, first_of
from models.relational_lstm import RelationalLSTMNetwork
from services.errors import DataError, UserError
from services.params import Frames
from services.specs import ModelSpec
from worker.contract import Task
from worker.stages.features import Shape
from worker.stages.outputs import read_model


def build_network(spec: ModelSpec, num_classes: int, shape: Shape | dict[str, Shape], steps: int) -> nn.Module:
    """Build the network of a spec for features of a ``shape`` without N and T.

    Raises:
        UserError: clips have fewer steps than the network needs, or features of another form.
    """
    if spec.least_steps > steps:
        raise UserError(f"model.segments: got {spec.least_steps}, allowed: 1 to the {steps} frames of the features")
    return _build(spec, num_classes, feature_shape=shape)


def build_end_to_end(spec: ModelSpec, num_classes: int, backbone: Backbone, look: Frames) -> nn.Module:
    """Build the network of a spec with a backbone, which is cut off behind the feature that the network sees.

    The local branch of a Relational LSTM starts from what a ResNet-101-v2 is cut off (section 5.2 of the paper).

    Raises:
        UserError: the feature is of another form than the network takes.
    """
    weights = backbone.network.state_dict()
    backbone.cut(look.feature)
    network = _build(spec, num_classes, feature_shape=_shape(backbone), backbone=backbone)
    if (
        isinstance(network, RelationalLSTMNetwork)
        and network.local is not None
        and look.backbone.name == "resnet101_v2"
    ):
        network.load_local(weights)
    return network


def _build(spec: ModelSpec, num_classes: int, **features: Any) -> nn.Module:
    try:
        return models.build(spec.kind, num_classes=num_classes, **features, **spec.options)
    except ValueError as error:
        raise UserError(f"model: {error}") from error


def trained_network(task: Task, network: nn.Module) -> nn.Module:
    """Return a network for the test with the weights of its `train` stage, or of `finetune` where it is that one.

    Raises:
        DataError: they are another network's; the message has the first differences.
    """
    (trained,) = task.inputs_of("train") or task.inputs_of("finetune")
    state = read_model(trained.path)
    differing = differences(network.state_dict(), state)
    if differing:
        raise DataError(f"stage {trained.key[:12]}: weights of another network: {first_of(differing)}")
    network.load_state_dict(state)
    return network.to(task.device).eval()


def load_from_rgb(network: nn.Module, rgb: Mapping[str, Tensor]) -> None:
    """Start a flow network from the weights of a trained rgb one, the first convolution averaged (Relational LSTM).

    Args:
        network: has a backbone.
        rgb: state dict of the other.

    Raises:
        UserError: the two networks differ in more than that.
    """
    backbone = next(part for part in network.modules() if isinstance(part, Backbone))
    first = f"network.{backbone.first_conv}"
    weights = {
        name: cross_modality(value, backbone.format.channels) if name.endswith(first) else value
        for name, value in rgb.items()
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"flow_stream.from_rgb: the networks of the two streams differ: {error}") from error


def _shape(backbone: Backbone) -> Shape:
    """Return the shape of the feature that a backbone gives."""
    frame = torch.zeros(1, backbone.format.channels, backbone.format.size, backbone.format.size)
    training, _ = backbone.training, backbone.eval()
    with torch.no_grad():
        shape = tuple(backbone(frame).shape[1:])
    backbone.train(training)
    return shape
