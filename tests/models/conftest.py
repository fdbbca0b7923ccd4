"""Tests share the cores with other processes: one thread each, or OpenMP's threads spin and wait for one another."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.counts import PROPERTY, Count

torch.set_num_threads(1)


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Count:
    """A function that counts weights, and has the count printed at the end of the run."""

    def count(kind: str, options: Mapping[str, Any], *networks: nn.Module) -> int:
        number = sum(weight.numel() for network in networks for weight in network.parameters())
        words = ", ".join(f"{name}={value}" for name, value in options.items())
        record_property(PROPERTY, f"{kind:<17} {number:>12,}  {words}".rstrip())
        return number

    return count
