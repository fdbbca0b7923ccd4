"""Tensors of a file of ``torch.save``, read without torch: the API and the command have none.

Such a file is a zip: ``data.pkl`` names the tensors, and each storage is a member of its own. The pickle is read by an
unpickler that knows the few names which a state dict needs and refuses every other, so that nothing in it is run.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from services.errors import DataError

MAX_PICKLE_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
STORAGES: Mapping[str, tuple[str, int]] = {
    "DoubleStorage": ("F64", 8),
    "FloatStorage": ("F32", 4),
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8),
    "IntStorage": ("I32", 4),
    "ShortStorage": ("I16", 2),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
    "BoolStorage": ("BOOL", 1),
}
"""The types of PyTorch's storages: the name that safetensors gives each, and the bytes of a number."""
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module")
"""Under which a file of another program may have its state dict: those of `models.backbones.weights`."""
DEEPEST = 3


class StoredTensor(NamedTuple):
    """A tensor as it lies in the file: numbers of a storage, by first one and strides."""

    member: str
    dtype: str
    width: int
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Of its numbers one after another."""
        return prod(self.shape) * self.width

    @property
    def is_contiguous(self) -> bool:
        """Whether its numbers lie one after another, in the order of its axes."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


class State(dict[str, Any]):
    """A state dict, whose attributes may say more, such as what it has seen."""


class TorchFile:
    """A state dict in a file of ``torch.save``.

    Args:
        path: the file.

    Attributes:
        tensors: by name, in the file's order.
        seen: what the weights say that they were trained on; None where they say nothing.

    Raises:
        DataError: it is no such file, cut off, broken, or holds more than named dense tensors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: no file of torch.save, or cut off: {error}") from error
        try:
            state = self._unpickled()
            self.tensors = {name: self._tensor(name, value) for name, value in state.items()}
        except BaseException:
            self._archive.close()
            raise
        seen = getattr(state, "seen", None)
        self.seen: dict[str, Any] | None = seen if isinstance(seen, dict) else None

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a tensor, its numbers one after another; one that is strided lies in memory as a whole.

        Raises:
            DataError: the storage is cut off or broken.
        """
        tensor = self.tensors[name]
        try:
            if tensor.is_contiguous:
                yield from self._piece(tensor)
            else:
                yield self._strided(tensor)
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{self._path}: {name} is cut off or broken: {error}") from error

    def _piece(self, tensor: StoredTensor) -> Iterator[bytes]:
        left = tensor.num_bytes
        with self._archive.open(tensor.member) as storage:
            storage.seek(tensor.first * tensor.width)
            while left:
                chunk = storage.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise EOFError(f"{left} bytes are missing")
                left -= len(chunk)
                yield chunk

    def _strided(self, tensor: StoredTensor) -> bytes:
        numbers = np.frombuffer(self._archive.read(tensor.member), np.dtype(f"V{tensor.width}"))
        last = tensor.first + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
        if min(tensor.strides) < 0 or last >= len(numbers):
            raise EOFError(f"number {last} of {len(numbers)}")
        steps = [step * tensor.width for step in tensor.strides]
        return np.lib.stride_tricks.as_strided(numbers[tensor.first :], tensor.shape, steps).tobytes()

    def _unpickled(self) -> State:
        self._root = self._checked_root()
        try:
            with self._archive.open(f"{self._root}data.pkl") as file:
                found = _Plain(file).load()
        except Exception as error:  # whatever a broken pickle raises; its words may quote the file
            why = "cut off, broken, or holds more than named dense tensors"
            raise DataError(f"{self._path}: no state dict of torch.save: {why} ({type(error).__name__})") from error
        for _ in range(DEEPEST):
            inner = [found[name] for name in WRAPPERS if isinstance(found, dict) and name in found]
            found = next((value for value in inner if isinstance(value, dict)), found)
        if not isinstance(found, dict) or not found:
            raise DataError(f"{self._path}: holds no state dict")
        return found if isinstance(found, State) else State(found)

    def _checked_root(self) -> str:
        """Return the folder inside the archive in which all lies."""
        pickles = [name for name in self._archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise DataError(f"{self._path}: no file of torch.save: it has {len(pickles)} pickles, allowed: 1")
        root = pickles[0].removesuffix("data.pkl")
        if self._archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
            raise DataError(f"{self._path}: its names alone take more than {MAX_PICKLE_BYTES} bytes")
        if f"{root}byteorder" in self._archive.namelist() and self._archive.read(f"{root}byteorder") != b"little":
            raise DataError(f"{self._path}: its numbers have the higher byte first, allowed: the lower one")
        return root

    def _tensor(self, name: object, value: object) -> StoredTensor:
        if not isinstance(name, str) or not isinstance(value, StoredTensor):
            raise DataError(f"{self._path}: holds other things than named dense tensors")
        return value._replace(member=f"{self._root}data/{value.member}")


class _Storage(NamedTuple):
    member: str
    dtype: str
    width: int


def _rebuilt(storage: _Storage, first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> StoredTensor:
    """Stand for `torch._utils._rebuild_tensor_v2`."""
    return StoredTensor(storage.member, storage.dtype, storage.width, first, tuple(shape), tuple(strides))


def _parameter(tensor: StoredTensor, *_: Any) -> StoredTensor:
    """Stand for `torch._utils._rebuild_parameter`."""
    return tensor


class _Other:
    """Stands for what a script files beside its weights, such as the size or the type of a tensor; nothing reads it."""

    def __init__(self, *_: Any) -> None:
        pass


OTHERS = (("torch", "Size"), ("torch", "device"), ("collections", "Counter"), ("__builtin__", "set"))
KINDS_OF_NUMBERS = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
KNOWN: Mapping[tuple[str, str], Any] = {
    **dict.fromkeys((*OTHERS, *(("torch", name) for name in KINDS_OF_NUMBERS)), _Other),
    ("collections", "OrderedDict"): State,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): name for name in STORAGES},
}
"""All that a pickle may name, and what stands for it here."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not known") from None

    def persistent_load(self, saved: Any) -> _Storage:
        kind, storage, member, *_ = saved
        if kind != "storage" or not isinstance(member, str):
            raise pickle.UnpicklingError("no storage")
        return _Storage(member, *STORAGES[storage])
