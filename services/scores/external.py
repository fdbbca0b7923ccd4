"""Files of class scores that users bring: CSV, Parquet, or npz. Nothing in them is run, and pickles are never read.

csv, parquet    a column ``clip``, one for each class under its name, and ``label`` if there is one
npz             ``clips`` (N,) text, ``classes`` (K,) text, ``scores`` (N, K), and ``labels`` (N,) if there are any

No more is read into memory than a file of twice the test set's clips would take.
"""

from __future__ import annotations

import csv
import lzma
import mmap
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray
from pyarrow import types

from services.errors import InvalidRequest

Format = Literal["csv", "parquet", "npz"]
CLIP, LABEL = "clip", "label"
SEPARATORS = {";": "semicolons", "\t": "tabs"}
"""That spreadsheets write in place of commas, by what messages call them."""
MAX_LINE = 1_000_000
"""Characters of a line of CSV: 10,000 classes with all their digits take a quarter."""
MAX_MEMBER = 1 << 30
"""Bytes of an array in an archive, and of a Parquet file's columns, once they are unpacked."""
MAX_MEMBERS = 64
"""Of an archive, which has four with scores; the bytes with which one is listed may stand in data by chance."""
LISTED = b"PK\x01\x02"
MAX_FOOTER = 1 << 24
"""Bytes in which a Parquet file says where its columns are: some 200 for each column of each group of rows."""
MAX_TEXT = 1000
"""Characters of the name of a clip or class."""
TEXTS = (
    types.is_string,
    types.is_large_string,
    types.is_string_view,
    types.is_binary,
    types.is_large_binary,
    types.is_binary_view,
)
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
)
"""What a broken or hostile archive, or the header of an array in it, makes its readers raise."""


@dataclass(frozen=True)
class ExternalScores:
    """What a file says, unchecked but for its shape: N clips, K classes.

    Attributes:
        clips: N names, as they stand in the file.
        classes: K names, likewise.
        scores: ``(N, K)`` float32 or float64.
        labels: N names or numbers as text; None where the file has none.
    """

    clips: tuple[str, ...]
    classes: tuple[str, ...]
    scores: NDArray[np.floating[Any]]
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Bounds:
    """What a file may have at the most."""

    rows: int
    columns: int


def read_external(path: Path, form: Format, bounds: Bounds) -> ExternalScores:
    """Read a file of scores.

    Raises:
        InvalidRequest: it is no such file, lacks a part, or has more rows or columns than ``bounds`` allow.
    """
    return READERS[form](path, bounds)


def _read_csv(path: Path, bounds: Bounds) -> ExternalScores:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _of_lines(file, bounds)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refused(f"{error}", "CSV in UTF-8") from error


def _of_lines(file: TextIO, bounds: Bounds) -> ExternalScores:
    reader = csv.reader(iter(lambda: file.readline(MAX_LINE), ""))
    names = next(reader, [])
    has_label = LABEL in names
    classes = _classes_of(names, bounds)
    at = [column for column, name in enumerate(names) if name not in (CLIP, LABEL)]
    clips: list[str] = []
    labels: list[str] = []
    rows: list[NDArray[np.float64]] = []
    for row in reader:
        if reader.line_num > 2 * bounds.rows + 1:
            allowed = f"{bounds.rows:,} rows, twice the test clips of the split, and as many empty lines"
            raise _refused(f"more than {2 * bounds.rows + 1:,} lines", allowed)
        if not row:
            continue
        if len(row) != len(names):
            raise _refused(f"line {reader.line_num} with {len(row)} fields", f"{len(names)}, as the first line has")
        if len(rows) == bounds.rows:
            raise _too_many(f"more than {bounds.rows:,}", bounds)
        clips.append(row[names.index(CLIP)])
        try:
            rows.append(np.array([row[column] for column in at], dtype=np.float64))
        except ValueError as error:
            raise _refused(f"line {reader.line_num}: {error}", "a number for each class") from error
        labels += [row[names.index(LABEL)]] if has_label else []
    scores = np.stack(rows) if rows else np.empty((0, len(classes)))
    return ExternalScores(tuple(clips), classes, scores, tuple(labels) if has_label else None)


def _read_parquet(path: Path, bounds: Bounds) -> ExternalScores:
    try:
        _require_short_footer(path)
        with pyarrow.parquet.ParquetFile(path) as file:
            about, schema = file.metadata, file.schema_arrow
        classes = _classes_of(schema.names, bounds)
        if about.num_rows > bounds.rows:
            raise _too_many(f"{about.num_rows:,}", bounds)
        size = sum(about.row_group(group).total_byte_size for group in range(about.num_row_groups))
        if size > MAX_MEMBER:
            raise _refused(f"{size:,} bytes unpacked", f"at most {MAX_MEMBER:,}")
        _require_types(schema)
        # A text that many rows have is kept once: a file of a few kB may say it so often that no memory holds it.
        texts = [field.name for field in schema if _is_text(field.type)]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read()
        table.validate(full=True)
        names = table.column_names  # of which a class may have several
        own = [column for name, column in zip(names, table.columns, strict=True) if name not in (CLIP, LABEL)]
        columns = [column.cast(pyarrow.float64()).to_numpy() for column in own]
        found = {name: _texts_of(name, table.column(name)) for name in (CLIP, LABEL) if name in names}
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise _refused(f"{error}"[:MAX_TEXT], "a Parquet file of texts and numbers") from error
    scores = np.stack(columns, axis=1).astype(np.float64, copy=False)
    return ExternalScores(found[CLIP], classes, scores, found.get(LABEL))


def _require_short_footer(path: Path) -> None:
    """Refuse a file that says more of its columns than any with scores, before all of that is read into memory."""
    with path.open("rb") as file:
        file.seek(-min(8, path.stat().st_size), os.SEEK_END)
        size, mark = int.from_bytes(file.read(4), "little"), file.read(4)
    if mark == b"PAR1" and size > MAX_FOOTER:
        raise _refused(f"a footer of {size:,} bytes", f"a Parquet file with one of at most {MAX_FOOTER:,}")


def _require_types(schema: pyarrow.Schema) -> None:
    """Refuse columns of classes that are no numbers, and clips and labels that are neither text nor whole numbers."""
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if field.name in (CLIP, LABEL):
            fits, allowed = _is_text(kind) or types.is_integer(kind), "text or whole numbers"
        else:
            fits = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
            allowed = "numbers"
        if not fits:
            raise _refused(f"column {field.name!r} of type {field.type}"[:MAX_TEXT], allowed)


def _is_text(kind: pyarrow.DataType) -> bool:
    return any(is_kind(kind) for is_kind in TEXTS)


def _texts_of(name: str, column: pyarrow.ChunkedArray) -> tuple[str, ...]:
    """Return names or numbers as text; bytes are UTF-8, as some writers leave texts."""
    if column.null_count:
        raise _refused(f"{column.null_count:,} empty cells in column {name!r}", "none")
    found: list[str] = []
    for chunk in column.chunks:
        kept = chunk if isinstance(chunk, pyarrow.DictionaryArray) else chunk.dictionary_encode()
        values = kept.dictionary.cast(pyarrow.string())
        longest = pyarrow.compute.max(pyarrow.compute.binary_length(values)).as_py() or 0
        if longest > 4 * MAX_TEXT:
            raise _refused(f"column {name!r} with a text of {longest:,} bytes", f"at most {4 * MAX_TEXT:,}")
        texts = values.to_pylist()
        found += [texts[index] for index in kept.indices.to_pylist()]
    return tuple(found)


def _classes_of(names: Sequence[str], bounds: Bounds) -> tuple[str, ...]:
    """Return the names of the columns that are classes."""
    if len(names) == 1 and (other := next((mark for mark in SEPARATORS if mark in names[0]), None)):
        raise _refused(f"{SEPARATORS[other]} between columns", "commas, and points in numbers")
    for name in (CLIP, LABEL):
        if names.count(name) not in ((1,) if name == CLIP else (0, 1)):
            raise _refused(f"{names.count(name)} columns named {name!r}", f"{'at most ' * (name == LABEL)}one")
    classes = tuple(name for name in names if name not in (CLIP, LABEL))
    if not 0 < len(classes) <= bounds.columns:
        raise _refused(f"{len(classes):,} columns of classes", f"1 to {bounds.columns:,}")
    return classes


def _read_npz(path: Path, bounds: Bounds) -> ExternalScores:
    most = {"clips": (bounds.rows,), "classes": (bounds.columns,), "scores": (bounds.rows, bounds.columns)}
    try:
        _require_few_members(path)
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).stem for name in archive.namelist()}
            for name in sorted(most.keys() - names):
                raise _refused(f"no array {name!r}", "clips, classes, scores, and labels if there are any")
            arrays = {name: _array(archive, name, shape) for name, shape in most.items()}
            labels = _array(archive, "labels", most["clips"]) if "labels" in names else None
    except UNREADABLE as error:
        raise _refused(f"{error}"[:MAX_TEXT], "an npz archive of plain arrays; pickles are not read") from error
    return _of_arrays(arrays, labels)


def _require_few_members(path: Path) -> None:
    """Refuse an archive of very many members, whose names alone would fill the memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = -1
        for _ in range(MAX_MEMBERS + 1):
            place = content.find(LISTED, place + 1)
            if place < 0:
                return
    raise _refused(f"more than {MAX_MEMBERS} members", "an npz archive of clips, classes, scores, and labels")


def _of_arrays(arrays: Mapping[str, NDArray[Any]], labels: NDArray[Any] | None) -> ExternalScores:
    clips, classes, scores = _texts(arrays, "clips"), _texts(arrays, "classes"), arrays["scores"]
    if scores.dtype.kind not in "fiu" or scores.shape != (len(clips), len(classes)):
        raise _refused(
            f"scores of shape {scores.shape} and type {scores.dtype}", f"numbers ({len(clips)}, {len(classes)})"
        )
    if labels is not None and labels.shape != (len(clips),):
        raise _refused(f"labels of shape {labels.shape}", f"({len(clips)},)")
    with np.errstate(over="ignore"):  # what is larger than any float64 is refused as no finite number
        kept = scores if scores.dtype == np.float32 else scores.astype(np.float64)
    if labels is None:
        return ExternalScores(clips, classes, kept, None)
    return ExternalScores(clips, classes, kept, _labels(labels))


def _labels(found: NDArray[Any]) -> tuple[str, ...]:
    if found.dtype.kind in "iu":
        return tuple(map(str, found.tolist()))
    return _texts({"labels": found}, "labels", "text or whole numbers")


def _array(archive: zipfile.ZipFile, name: str, most: tuple[int, ...]) -> NDArray[Any]:
    """Read an array whose shape, as its header says, is no larger than ``most``."""
    member = archive.getinfo(f"{name}.npy")
    if member.file_size > MAX_MEMBER:
        raise _refused(f"{name} of {member.file_size:,} bytes unpacked", f"at most {MAX_MEMBER:,}")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.hasobject:
        raise _refused(f"{name} of objects", "numbers or text; pickles are not read")
    if len(shape) != len(most) or any(size > bound for size, bound in zip(shape, most, strict=True)):
        raise _refused(f"{name} of shape {shape}", f"{len(most)} axes of at most {most}")
    if dtype.itemsize > 4 * MAX_TEXT:
        raise _refused(f"{name} with texts of {dtype.itemsize} bytes", f"at most {4 * MAX_TEXT}")
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def _texts(arrays: Mapping[str, NDArray[Any]], name: str, allowed: str = "text") -> tuple[str, ...]:
    found = arrays[name]
    if found.dtype.kind == "S":
        try:
            return tuple(value.decode() for value in found.tolist())
        except UnicodeDecodeError as error:
            raise _refused(f"{name}: {error}", "text in UTF-8") from error
    if found.dtype.kind != "U":
        raise _refused(f"{name} of type {found.dtype}", allowed)
    try:  # of bytes, since NumPy takes any 32 bits for a character
        return tuple(value.decode("utf-32-le").rstrip("\0") for value in _bytes_of(found))
    except UnicodeDecodeError as error:
        raise _refused(f"{name}: {error.reason}", "text of Unicode's characters") from error


def _bytes_of(found: NDArray[Any]) -> Iterator[bytes]:
    """Yield the bytes of texts, four a character, the lowest first."""
    size = found.dtype.itemsize
    whole = np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("<")).tobytes()
    return (whole[at : at + size] for at in range(0, size * len(found), size)) if size else iter([b""] * len(found))


def _too_many(found: str, bounds: Bounds) -> InvalidRequest:
    return _refused(f"{found} rows", f"at most {bounds.rows:,}, twice the test clips of the split")


def _refused(found: str, allowed: str) -> InvalidRequest:
    return InvalidRequest("file", found, allowed)


READERS: Mapping[Format, Callable[[Path, Bounds], ExternalScores]] = {
    "csv": _read_csv,
    "parquet": _read_parquet,
    "npz": _read_npz,
}
