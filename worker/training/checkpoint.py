"""Files of tensors: a reader sees an old or a new one, never a part, and runs no pickled code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from services.stores.files import replacing

CHECKPOINT_FILE = "checkpoint.pt"


def save(path: Path, content: dict[str, Any]) -> None:
    """Replace a file by tensors and plain values; see `replacing`."""
    with replacing(path) as file:
        torch.save(content, file)


def load(path: Path) -> dict[str, Any]:
    """Read such a file into the processor's memory.

    Raises:
        FileNotFoundError: if there is none.
        pickle.UnpicklingError: if it holds more than tensors and plain values.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
