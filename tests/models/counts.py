"""How parameter counts are told to the table at the end of a test run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

PROPERTY = "parameters"


class Count(Protocol):
    """Counts the weights of networks and tells the run of them."""

    def __call__(self, kind: str, options: Mapping[str, Any], *networks: nn.Module) -> int:
        """Return the number of weights of all networks together."""
        ...
