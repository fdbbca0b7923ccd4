"""Networks of a system for ``torch.export``: programs that run without this package, on tensors of one shape."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import Backbone
from worker.training.batches import to_device

SUFFIX = ".pt2"


class Logits(nn.Module):
    """A network that gives its logits alone, ``(N, K)`` or ``(N, T, K)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Any) -> Tensor:
        """Return the logits of features or frames, by stream where the network takes the streams apart."""
        logits: Tensor = self.network(inputs).logits
        return logits


class Feature(nn.Module):
    """A backbone that gives one of its features, ``(N, D)`` or ``(N, C, H, W)``, of frames ``(N, C, H, W)``."""

    def __init__(self, backbone: Backbone, name: str) -> None:
        super().__init__()
        self.backbone, self.name = backbone, name

    def forward(self, frames: Tensor) -> Tensor:
        """Return the feature of normalised frames."""
        return self.backbone.features(frames, self.name)


def write_program(path: Path, network: nn.Module, inputs: Any) -> None:
    """Write a network as a program of ``torch.export`` for inputs of the shape of these, on the processor.

    Raises:
        ValueError: the program, as it is read back, gives other numbers than the network.
    """
    network, inputs = network.cpu(), to_device(inputs, torch.device("cpu"))
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch doubts weights that are parts of one storage, as an LSTM's: what is read back is compared below.
        warnings.filterwarnings("ignore", "No complete tensor found in the group")
        warnings.filterwarnings("ignore", r"The tensor attributes .*_flat_weights.* were assigned during export")
        torch.export.save(torch.export.export(network, (inputs,), strict=False), path)
        found, expected = torch.export.load(path).module()(inputs), network(inputs)
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-5):
        path.unlink()
        difference = float((found - expected).abs().max())
        raise ValueError(f"{path.name}: the exported program differs from the network by {difference:g}")
