"""Rates and weight decays of single layers, as groups of an optimiser's parameters."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from torch import nn

from models.backbones import Backbone
from services.specs import TrainingSpec
from worker.training.optim import SCALE


class Policy(NamedTuple):
    """What the rate and the weight decay are multiplied by."""

    rate: float
    decay: float


WEIGHT, BIAS, NORM = Policy(1, 1), Policy(2, 0), Policy(1, 0)
FLOW_WEIGHT, FLOW_BIAS = Policy(5, 1), Policy(10, 0)  # of the first convolution of flow


def parameter_groups(model: nn.Module, spec: TrainingSpec) -> list[Any]:
    """Return the parameters that are trained, in groups where the spec's layers differ.

    TSN's code has the rates of ``get_optim_policies`` in tsn-pytorch: biases, and the first convolution of flow, whose
    kernel was made from that of rgb, learn faster, and only weights of convolutions and linear layers decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if spec.layer_policy == "none":
        return trained
    policies = _tsn(model)
    groups: dict[Policy, list[nn.Parameter]] = defaultdict(list)
    for parameter in trained:
        groups[policies[parameter]].append(parameter)
    decay = spec.optimizer.weight_decay
    return [{"params": own, SCALE: policy.rate, "weight_decay": decay * policy.decay} for policy, own in groups.items()]


def _tsn(model: nn.Module) -> dict[nn.Parameter, Policy]:
    policies: dict[nn.Parameter, Policy] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kind = BIAS if "bias" in name else WEIGHT
            policies[parameter] = NORM if _is_norm(module) else kind
    for backbone in model.modules():
        if isinstance(backbone, Backbone) and backbone.format.channels != 3:
            first = backbone.network.get_submodule(backbone.first_conv.rpartition(".")[0])
            own = dict(first.named_parameters(recurse=False))
            policies |= {own[name]: FLOW_BIAS if name == "bias" else FLOW_WEIGHT for name in own}
    return policies


def _is_norm(module: nn.Module) -> bool:
    return hasattr(module, "running_mean") or isinstance(module, nn.LayerNorm | nn.GroupNorm)
