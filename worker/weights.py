"""State dicts in files that a spec names: read with care, and refused without quoting their content."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.backbones.weights import unwrapped
from services.errors import UserError
from services.specs import MAX_WEIGHTS_BYTES

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of ``torch.save`` begins: a pickle of 0x1950a86a20f9469cfc6c before PyTorch 1.6, a zip file since then."""
EXPECTED = "expected a state dict (names to tensors), written by torch.save or as .safetensors"


def read_state_dict(path: Path, field: str, max_bytes: int = MAX_WEIGHTS_BYTES) -> dict[str, Tensor]:
    """Read a state dict into the processor's memory; nothing in the file is run, and nothing of it is quoted.

    Args:
        path: ``.safetensors``, or else a file of ``torch.save``, in which the state dict may lie under one of
            `models.backbones.weights.WRAPPERS`.
        field: of the spec, for messages.
        max_bytes: of the file, and of what it unpacks to.

    Raises:
        UserError: there is no such file, it is no regular one, empty, too large, cut off or broken, may not be read, or
            holds something else than a state dict, or numbers that are not finite; the message names the file and what
            was expected.
        RuntimeError: memory does not suffice for what it holds.
    """
    try:
        with _opened(path, max_bytes) as file:
            content = _safetensors(path) if path.suffix == ".safetensors" else _pytorch(file, max_bytes)
        _require_finite(content)
    except _Refused as refused:
        raise UserError(f"{field}: {path} {refused}; {EXPECTED}") from None
    return content


@contextlib.contextmanager
def library_weights(field: str, name: str) -> Iterator[None]:
    """Have errors of a library that fetches its own weights, or reads them from its cache, name the field.

    Raises:
        UserError: they cannot be fetched, or what lies in the cache is broken.
    """
    try:
        yield
    except OSError as error:  # urllib's URLError is one
        raise UserError(f"{field}: {name} cannot be fetched: {error}") from error
    except Exception as error:
        if _out_of_memory(error):
            raise
        raise UserError(
            f"{field}: {name} cannot be fetched or read ({type(error).__name__}); hint: remove what the library's cache"
            " holds of them"
        ) from None


class _Refused(Exception):
    """Why a file is not read, to stand after its name."""


def _opened(path: Path, max_bytes: int) -> BinaryIO:
    """Open a regular file, without waiting for the other end of a pipe."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _Refused("is missing") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _Refused(f"cannot be opened ({getattr(error, 'strerror', None) or 'no file name'})") from None
    status = os.fstat(number)
    for wrong, why in (
        (stat.S_ISDIR(status.st_mode), "is a folder"),
        (not stat.S_ISREG(status.st_mode), "is no regular file"),
        (status.st_size == 0, "is empty"),
        (status.st_size > max_bytes, f"has {status.st_size} bytes, allowed: {max_bytes}"),
    ):
        if wrong:
            os.close(number)
            raise _Refused(why)
    return os.fdopen(number, "rb")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:
        raise _unreadable(error, "is no file of safetensors, cut off or broken") from None


def _pytorch(file: BinaryIO, max_bytes: int) -> dict[str, Tensor]:
    beginning = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if not beginning.startswith((ZIP_MAGIC, LEGACY_MAGIC)):
        raise _Refused("is no file of torch.save")
    try:
        if beginning.startswith(ZIP_MAGIC):
            _require_size(file, max_bytes)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except _Refused:
        raise
    except Exception as error:
        raise _unreadable(error, "is cut off, broken, or holds more than tensors and plain values") from None
    return _state_dict(content)


def _require_size(file: BinaryIO, max_bytes: int) -> None:
    """Refuse what grows beyond the limit when it is unpacked."""
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    file.seek(0)
    if size > max_bytes:
        raise _Refused(f"unpacks to {size} bytes, allowed: {max_bytes}")


def _unreadable(error: Exception, why: str) -> Exception:
    """Return the refusal for an error of a reader, whose own words may quote the file; memory is another matter."""
    return RuntimeError("can't allocate memory for the weights") if _out_of_memory(error) else _Refused(why)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _state_dict(content: Any) -> dict[str, Tensor]:
    content = unwrapped(content)
    if not isinstance(content, Mapping) or not content:
        raise _Refused("holds no state dict")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise _Refused("holds no state dict, but also other things than named dense tensors")
    return dict(content)


def _require_finite(state: Mapping[str, Tensor]) -> None:
    """Refuse what a training that diverged has left, before another one starts from it."""
    if not all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point()):
        raise _Refused("holds numbers that are not finite, NaN or infinite: its training has diverged")


def _is_plain(value: Any) -> bool:
    """Say whether a value is a dense tensor in memory, of real numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )
