"""The forms in which spreadsheets, NumPy and Arrow leave scores."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from services.errors import InvalidRequest
from services.scores import external
from services.scores.external import Bounds, Format, read_external

CSV = "clip,A,B\na/x,0.5,0.5\nb/y,1e-3,9.99e-1\n"
VALUES = np.array([[0.5, 0.5], [1e-3, 0.999]])
CLIPS, CLASSES = ("a/x", "b/y"), ("A", "B")


def npz(**changes: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{"clips": CLIPS, "classes": CLASSES, "scores": VALUES, **changes})
    return file.getvalue()


def parquet(**changes: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"clip": CLIPS, "A": VALUES[:, 0], "B": VALUES[:, 1], **changes}), file)
    return file.getvalue()


def read(tmp_path: Path, form: Format, content: bytes) -> Any:
    path = tmp_path / "scores"
    path.write_bytes(content)
    return read_external(path, form, Bounds(4, 4))


QUOTED = '"clip","A","B"\n"a/x","0.5","0.5"\n"b/y","1e-3","9.99e-1"\n'
LABELS = {"label": pa.array(["B", "A"]).dictionary_encode()}


@pytest.mark.parametrize(
    ("form", "content"),
    [
        pytest.param("csv", b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode(), id="a mark of UTF-8, and CRLF"),
        pytest.param("csv", CSV.replace("\n", "\r").encode(), id="CR"),
        pytest.param("csv", QUOTED.encode() + b"\n\n", id="quotes, and blank lines"),
        pytest.param("npz", npz(scores=np.asfortranarray(VALUES.astype(">f8"))), id="another order of bytes and axes"),
        pytest.param("npz", npz(clips=np.array(CLIPS, "S"), classes=np.array(CLASSES, "S")), id="bytes in npz"),
        pytest.param("npz", npz(labels=np.array([b"B", b"A"])), id="labels as bytes in npz"),
        pytest.param("parquet", parquet(clip=[b"a/x", b"b/y"]), id="bytes in Parquet"),
        pytest.param("parquet", parquet(clip=pa.array(CLIPS, pa.large_string())), id="large strings"),
        pytest.param(
            "parquet",
            parquet(clip=pa.array(CLIPS).dictionary_encode(), A=pa.array(VALUES[:, 0]).dictionary_encode(), **LABELS),
            id="dictionaries",
        ),
    ],
)
def test_what_other_programs_write_is_read(tmp_path: Path, form: Format, content: bytes) -> None:
    found = read(tmp_path, form, content)
    assert (found.clips, found.classes) == (CLIPS, CLASSES)
    assert found.labels in (None, ("B", "A"))
    np.testing.assert_array_equal(found.scores, VALUES)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, np.int8])
def test_numbers_of_any_type_are_read(tmp_path: Path, dtype: Any) -> None:
    found = read(tmp_path, "npz", npz(scores=np.ones((2, 2), dtype)))
    assert found.scores.dtype in (np.float32, np.float64)
    assert (found.scores == 1).all()


def test_what_no_float64_holds_is_no_finite_number(tmp_path: Path) -> None:
    huge = np.full((2, 2), np.longdouble("1e4000"))
    assert np.isinf(read(tmp_path, "npz", npz(scores=huge)).scores).all()


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("csv", CSV.replace(",", ";").replace(".", ",").encode(), "semicolons between columns', allowed: commas"),
        ("csv", CSV.replace(",", "\t").encode(), "tabs between columns', allowed: commas"),
        ("csv", CSV.encode("utf-16"), "allowed: CSV in UTF-8"),
        ("csv", gzip.compress(CSV.encode()), "allowed: CSV in UTF-8"),
        ("npz", npz(labels=np.array([b"\xff", b"A"])), "labels: .*allowed: text in UTF-8"),
        ("npz", npz(scores=VALUES.astype(complex)), "type complex128', allowed: numbers"),
        ("npz", b"", "allowed: an npz archive"),
        ("npz", npz(labels=np.array([1.0, 0.0])), "labels of type float64', allowed: text or whole numbers"),
        ("npz", npz(labels=np.array(["2020", "2021"], "M8[Y]")), "labels of type datetime64.*allowed: text or whole"),
        ("npz", npz(scores=VALUES > 0), "type bool.*, allowed: numbers"),
        (
            "npz",
            npz(clips=np.array([[0xD800], [97]], "<u4").view("<U1")[:, 0]),
            "clips: .*text of Unicode's characters",
        ),
        ("npz", npz(classes=np.array([[0x110000], [97]], "<u4").view("<U1")[:, 0]), "classes: .*Unicode's characters"),
        ("npz", npz(labels=np.array([[2**31], [97]], ">u4").view(">U1")[:, 0]), "labels: .*Unicode's characters"),
        ("parquet", parquet(A=[[1.0], [0.0]]), "column 'A' of type list<.*allowed: numbers"),
        ("parquet", parquet(A=[True, False]), "column 'A' of type bool.*, allowed: numbers"),
        ("parquet", parquet(A=["1", "0"]), "column 'A' of type string.*, allowed: numbers"),
        ("parquet", parquet(label=[1.0, 0.0]), "column 'label' of type double.*, allowed: text or whole numbers"),
        ("parquet", parquet(clip=["a/x", None]), "1 empty cells in column 'clip'.*, allowed: none"),
        ("parquet", parquet(clip=[b"\xff", b"b/y"]), "allowed: a Parquet file of texts and numbers"),
        ("parquet", gzip.compress(parquet()), "allowed: a Parquet file of texts and numbers"),
    ],
)
def test_what_is_no_such_file_is_refused_by_its_form(tmp_path: Path, form: Format, content: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(tmp_path, form, content)


def header(description: str) -> bytes:
    """Return an archive whose scores have a header of these words."""
    file, words = io.BytesIO(npz()), description.encode()
    with zipfile.ZipFile(file) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    arrays["scores.npy"] = b"\x93NUMPY\x01\x00" + len(words).to_bytes(2, "little") + words + VALUES.tobytes()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        "{'descr':'<f8','fortran_order':False,'shape':(True,2)}\n",
        "{'descr':'<f8','fortran_order':False,'shape':(-1,2)}\n",
        "{'descr':[('a',)],'fortran_order':False,'shape':(2,2)}\n",
        "  {\n 'descr\n",
        "(" * 3000 + ")" * 3000 + "\n",
        "__import__('os')\n",
    ],
)
def test_a_header_that_nobody_can_read_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(InvalidRequest, match="allowed"):
        read(tmp_path, "npz", header(words))


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@pytest.mark.parametrize(
    ("form", "content"), [("csv", CSV.encode()), ("npz", npz()), ("parquet", parquet(label=["A", "B"]))]
)
def test_a_file_with_a_broken_byte_is_read_or_refused(tmp_path: Path, form: Format, content: bytes) -> None:
    for place, byte in enumerate(content):
        for other in (byte ^ 4, 255):
            broken = content[:place] + bytes([other]) + content[place + 1 :]
            with contextlib.suppress(InvalidRequest):
                read(tmp_path, form, broken)


@pytest.mark.parametrize("column", ["clip", "label"])
def test_a_text_that_many_rows_have_is_read_once_and_refused(tmp_path: Path, column: str) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 4, pa.int32()), pa.array(["a" * 10_000_000]))
    content = {"clip": list("abcd"), "A": [1.0] * 4, "B": [0.0] * 4} | {column: long}
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(content), file, compression="zstd", store_schema=False)
    assert len(file.getvalue()) < 10_000
    with pytest.raises(InvalidRequest, match=r"a text of 10,000,000 bytes.*, allowed: at most 4,000"):
        read(tmp_path, "parquet", file.getvalue())


def archive_of_many() -> bytes:
    file = io.BytesIO(npz())
    with zipfile.ZipFile(file, "a") as archive:
        for number in range(external.MAX_MEMBERS):
            archive.writestr(f"{number}.npy", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("form", "content", "words"),
    [
        ("csv", b"clip,A,B\n" + b"\n" * 100, "more than 9 lines', allowed: 4 rows"),
        ("npz", archive_of_many(), "more than 64 members', allowed: an npz archive of clips, classes"),
        (
            "parquet",
            b"PAR1" + b"\0" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
            "a footer of 2,147,483,647 by",
        ),
        ("parquet", b"PAR", "allowed: a Parquet file"),
        ("parquet", b"", "allowed: a Parquet file"),
    ],
    ids=["empty lines", "members", "footer", "shorter than a footer", "empty"],
)
def test_what_would_take_long_to_read_is_refused_before_that(
    tmp_path: Path, form: Format, content: bytes, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(tmp_path, form, content)
