"""Tries a host out: `python -m worker.host.probe WORK_ROOT DEVICE...` exits with 0 where a stage could run."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from services.stores.names import temporary

BYTES = 1 << 20


def main(arguments: list[str]) -> None:
    """Write, read and remove a file of one MiB, and multiply matrices on each GPU that is named."""
    work, devices = Path(arguments[0]), [name for name in arguments[1:] if name != "cpu"]
    work.mkdir(parents=True, exist_ok=True)
    path, content = temporary(work / "probe", os.getpid()), secrets.token_bytes(BYTES)
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != content:
            sys.exit(f"{path}: other bytes are read than were written")
    finally:
        path.unlink(missing_ok=True)
    if devices:
        import torch  # noqa: PLC0415 - a host without a GPU is tried in a moment

        for name in devices:
            matrix = torch.eye(64, device=name)
            if not torch.equal(matrix @ matrix, matrix):
                sys.exit(f"{name}: computes wrong products")


if __name__ == "__main__":
    main(sys.argv[1:])
