"""Numbers and texts from a pickle that NumPy wrote, without running what it says: a pickle may name any code.

Nothing that a file names is called, not even NumPy's own classes: arrays are made here, from type, shape and bytes.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
CODE = re.compile(r"[iu][1248]|f[248]|[US]\d{1,4}")
"""Types of whole numbers, floats and texts, by kind and bytes, or characters."""
CORES = ("numpy.core", "numpy._core")
"""Where NumPy keeps its functions, before version 2 and since."""


class Type:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: str, *_flags: object) -> None:
        if not isinstance(code, str) or CODE.fullmatch(code) is None:
            raise pickle.UnpicklingError(f"holds values of type {code!r}, allowed: numbers and texts")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the order of bytes; such a type has nothing else to say."""
        _version, order, *parts = state
        if order not in ("<", ">", "|", "=") or any(parts[:3]):
            raise pickle.UnpicklingError(f"holds a type {state!r}, allowed: numbers and texts")
        self.order = order

    def read(self, raw: bytes | str) -> Numbers:
        """Return the values ``(n,)`` that bytes hold; Python 2 wrote them as text."""
        content = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.frombuffer(content, np.dtype(self.order + self.code))


class Array:
    """Stands for ``numpy.ndarray``: empty until its state is set."""

    values: Numbers = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take shape, type and bytes."""
        _version, shape, kind, fortran, raw = state
        self.values = kind.read(raw).reshape(shape, order="F" if fortran else "C")


def _from_buffer(raw: bytes, kind: Type, shape: tuple[int, ...], order: Any) -> Array:
    array = Array()
    array.values = kind.read(raw).reshape(shape, order=order)
    return array


def _latin1(text: str, encoding: str) -> bytes:
    """Stand for ``_codecs.encode``, by which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds text in {encoding}, allowed: latin1")
    return text.encode("latin1")


def _scalar(kind: Type, raw: bytes) -> Any:
    return kind.read(raw)[0].item()


def _reconstruct(*_like: object) -> Array:
    return Array()


_STANDS_FOR: Mapping[tuple[str, str], Callable[..., Any]] = MappingProxyType(
    {
        ("numpy", "dtype"): Type,
        ("numpy", "ndarray"): Array,
        ("_codecs", "encode"): _latin1,
        **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in CORES},
        **{(f"{core}.multiarray", "scalar"): _scalar for core in CORES},
        **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in CORES},
    }
)


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STANDS_FOR:
            raise pickle.UnpicklingError(f"holds {module}.{name}, allowed: numpy arrays of numbers or texts")
        return _STANDS_FOR[module, name]


def unpickle(content: bytes) -> Any:
    """Return what a pickle holds: Python's containers, texts and numbers, and `Array` for each array.

    Raises:
        Exception: of any class, as ``pickle`` does for bytes that are no pickle; no code of the file's choice has run.
    """
    return _NumbersOnly(io.BytesIO(content), encoding="latin1").load()
