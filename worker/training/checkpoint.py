"""Files of tensors: a reader sees an old or a new one, never a part, and runs no pickled code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

CHECKPOINT_FILE = "checkpoint.pt"


def save(path: Path, content: dict[str, Any]) -> None:
    """Replace a file of tensors and plain values, also across a power cut; one process at a time may write it.

    Where that fails the old file stays, and the part that was written does not keep a full disk full.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path) -> dict[str, Any]:
    """Read such a file into the processor's memory.

    Raises:
        FileNotFoundError: if there is none.
        pickle.UnpicklingError: if it holds more than tensors and plain values.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return content
