"""Writes and checks files of safetensors without torch; https://huggingface.co/docs/safetensors has the format."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from services.bundles.torch_file import CHUNK_BYTES, TorchFile
from services.errors import DataError

SUFFIX = ".safetensors"
LENGTH = struct.Struct("<Q")
"""How the file begins: the bytes of its header."""
ALIGNMENT = 8


def packed(file: TorchFile) -> tuple[int, Callable[[], Iterator[bytes]]]:
    """Return how many bytes a state dict takes as safetensors, and what yields them."""
    header, end = {}, 0
    for name, tensor in sorted(file.tensors.items(), key=lambda entry: (-entry[1].width, entry[0])):
        begin, end = end, end + tensor.num_bytes  # the widest numbers first, so that each is aligned
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": (begin, end)}
    about = json.dumps(header, separators=(",", ":")).encode()
    about += b" " * (-len(about) % ALIGNMENT)

    def chunks() -> Iterator[bytes]:
        yield LENGTH.pack(len(about)) + about
        for name in header:
            yield from file.chunks(name)

    return LENGTH.size + len(about) + end, chunks


def stored(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file as they are."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
