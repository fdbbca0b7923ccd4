"""Quantised flow of one clip in one file: three codecs, read by frame numbers without reading the rest.

``raw`` is a numpy array on disk. ``jpeg`` and ``png`` hold one grey picture per field, x above y, (2 H, W), in a file
of ours: a line of JSON (codec, L, H, W), L + 1 offsets as little-endian uint64, the pictures.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from services.errors import DataError
from services.specs import FlowCodec
from worker.video.mapped import MappedArray

MAGIC = b"twostream flow 1\n"
OFFSET = np.dtype("<u8")
SUFFIXES: dict[FlowCodec, str] = {"raw": ".npy", "png": ".flow", "jpeg": ".flow"}
FLOW_FILE = "flow.json"
"""Beside the files of a stage: how they were made, their sizes, and the share of saturated pixels."""
STORE_VERSION = 1
"""Raised when the bytes of equal clips with equal parameters change: another algorithm's code, another layout."""

Fields = NDArray[np.uint8]


class FlowReader(Protocol):
    """The flow of one clip."""

    shape: tuple[int, int, int, int]
    """(L, 2, H, W), L the number of fields: one less than the clip's frames."""

    def __len__(self) -> int:
        """Return L."""
        ...

    def __getitem__(self, fields: NDArray[np.int64] | Sequence[int]) -> Fields:
        """Return the chosen fields, uint8 (..., 2, H, W) for an array of numbers (...); repeats allowed."""
        ...


def encode_flow(fields: Fields, codec: FlowCodec, jpeg_quality: int = 95) -> bytes:
    """Return the content of a clip's file.

    Args:
        fields: uint8 (L, 2, H, W).
        codec: ``raw`` and ``png`` lose nothing.
        jpeg_quality: 1 to 100, of ``jpeg``.
    """
    content = io.BytesIO()
    if codec == "raw":
        np.save(content, fields)
        return content.getvalue()
    pictures = [_encode_picture(field, codec, jpeg_quality) for field in fields]
    header = json.dumps({"codec": codec, "shape": list(fields.shape)}).encode() + b"\n"
    start = len(MAGIC) + len(header) + OFFSET.itemsize * (len(pictures) + 1)
    offsets = start + np.cumsum([0, *map(len, pictures)])
    return b"".join([MAGIC, header, offsets.astype(OFFSET).tobytes(), *pictures])


def _encode_picture(field: Fields, codec: FlowCodec, jpeg_quality: int) -> bytes:
    picture = field.reshape(-1, field.shape[-1])
    if codec == "jpeg":
        done, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    else:
        options = [cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
        done, content = cv2.imencode(".png", picture, options)
    assert done, f"cv2.imencode refused a picture of {picture.shape} for {codec}"
    return content.tobytes()


def open_flow(path: Path) -> FlowReader:
    """Open a clip's file, whatever its codec; nothing but the header is read, and the file is mapped into memory.

    Raises:
        DataError: the file is none of ours, or was cut short.
    """
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start == MAGIC:
        return _Pictures(path)
    try:
        fields = MappedArray(path)
    except ValueError as error:
        raise DataError(f"{path}: neither a flow file nor a numpy array: {error}") from error
    if fields.dtype != np.uint8 or len(fields.shape) != 4 or fields.shape[1] != 2:
        raise DataError(f"{path}: {fields.dtype} {fields.shape}, allowed: uint8 (L, 2, H, W)")
    return _Array(path, fields)


class _Array:
    """Reads an array on disk."""

    def __init__(self, path: Path, fields: MappedArray) -> None:
        self._path, self._fields = path, fields
        self.shape: tuple[int, int, int, int] = (fields.shape[0], 2, fields.shape[2], fields.shape[3])

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Callable[[Path], FlowReader], tuple[Path]]:
        return open_flow, (self._path,)  # loader workers map it again

    def __getitem__(self, fields: NDArray[np.int64] | Sequence[int]) -> Fields:
        return np.asarray(self._fields.view[np.asarray(fields, dtype=np.int64)])


class _Pictures:
    """Reads a file of encoded fields."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = self._content.find(b"\n", len(MAGIC)) + 1
        self.shape = self._read_shape(self._content[len(MAGIC) : end])
        self._table = end
        first = end + OFFSET.itemsize * (len(self) + 1)
        if len(self._content) < first or self._offset(len(self)) != len(self._content):
            raise DataError(f"{path}: cut short: {len(self._content)} bytes")

    def _read_shape(self, header: bytes) -> tuple[int, int, int, int]:
        try:
            fields, components, height, width = map(int, json.loads(header)["shape"])
        except (ValueError, TypeError, LookupError) as error:
            raise DataError(f"{self._path}: no whole header of a flow file") from error
        if min(fields, height, width) < 1 or components != 2:
            raise DataError(f"{self._path}: shape {[fields, components, height, width]}, allowed: [L, 2, H, W]")
        return fields, 2, height, width

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Callable[[Path], FlowReader], tuple[Path]]:
        return open_flow, (self._path,)

    def __getitem__(self, fields: NDArray[np.int64] | Sequence[int]) -> Fields:
        numbers = np.asarray(fields, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"fields: got {numbers.min()} to {numbers.max()}, allowed: 0 to {len(self) - 1}")
        pictures = {int(number): self._picture(int(number)) for number in np.unique(numbers)}
        chosen = np.empty((numbers.size, *self.shape[1:]), np.uint8)
        for index, number in enumerate(numbers.flat):
            chosen[index] = pictures[int(number)]
        return chosen.reshape(*numbers.shape, *self.shape[1:])

    def _offset(self, number: int) -> int:
        start = self._table + OFFSET.itemsize * number
        return int.from_bytes(self._content[start : start + OFFSET.itemsize], "little")

    def _picture(self, number: int) -> Fields:
        start, end = self._offset(number), self._offset(number + 1)
        content = np.frombuffer(self._content[start:end], np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE) if content.size else None
        _, _, height, width = self.shape
        if picture is None or picture.shape != (2 * height, width):
            raise DataError(f"{self._path}: field {number} does not decode")
        return picture.reshape(self.shape[1:]).astype(np.uint8, copy=False)


def clip_key(sha256: str, params: dict[str, Any]) -> str:
    """Return the content address of a clip's flow: 64 hexadecimal digits.

    Args:
        sha256: of the clip's file.
        params: decoder, algorithm, its parameters, quantisation and codec; anything that changes the bytes.
    """
    content = {"clip": sha256, "params": params, "version": STORE_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
