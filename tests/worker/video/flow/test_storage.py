import pickle
from pathlib import Path

import numpy as np
import pytest

from services.errors import DataError
from worker.video.flow.storage import clip_key, encode_flow, open_flow


@pytest.fixture
def fields() -> np.ndarray:
    y, x = np.mgrid[0:20, 0:30]
    waves = np.sin(x / 5 + np.arange(6)[:, None, None, None]) + np.cos(y / np.array([4, 7])[:, None, None])
    return np.rint(128 + 30 * waves).astype(np.uint8)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("codec", ["raw", "png", "jpeg"])
def test_fields_are_read_by_number(tmp_path: Path, fields: np.ndarray, codec: str) -> None:
    reader = open_flow(write(tmp_path / "clip", encode_flow(fields, codec)))
    assert (len(reader), reader.shape) == (6, (6, 2, 20, 30))
    chosen = np.array([[5, 0, 0], [1, 2, 5]])
    found = reader[chosen]
    assert found.dtype == np.uint8
    assert found.shape == (2, 3, 2, 20, 30)
    assert np.abs(found.astype(int) - fields[chosen]).max() <= (12 if codec == "jpeg" else 0)
    np.testing.assert_array_equal(reader[[3]], reader[np.array([3, 3])][1:])
    with pytest.raises(IndexError):
        reader[[6]]


def test_quality_trades_bytes_for_error(fields: np.ndarray) -> None:
    assert len(encode_flow(fields, "jpeg", 30)) < len(encode_flow(fields, "jpeg", 95)) < len(encode_flow(fields, "raw"))


@pytest.mark.parametrize("codec", ["raw", "png"])
def test_a_reader_goes_to_another_process(tmp_path: Path, fields: np.ndarray, codec: str) -> None:
    reader = open_flow(write(tmp_path / "clip", encode_flow(fields, codec)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))[[2]], fields[2:3])


@pytest.mark.parametrize("codec", ["raw", "png", "jpeg"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.1, 0.9])
def test_a_file_cut_short_is_refused(tmp_path: Path, fields: np.ndarray, codec: str, part: float) -> None:
    content = encode_flow(fields, codec)
    path = write(tmp_path / "clip", content[: int(part * len(content))])
    with pytest.raises(DataError, match="clip"):
        open_flow(path)


def test_a_damaged_field_is_refused_when_it_is_read(tmp_path: Path, fields: np.ndarray) -> None:
    content = bytearray(encode_flow(fields, "png"))
    place = content.rindex(b"\x89PNG")
    content[place : place + 4] = b"\0\0\0\0"
    reader = open_flow(write(tmp_path / "clip", bytes(content)))
    reader[[4]]
    with pytest.raises(DataError, match="field 5 does not decode"):
        reader[[5]]


@pytest.mark.parametrize("codec", ["raw", "png", "jpeg"])
def test_a_damaged_head_is_refused_by_name(tmp_path: Path, fields: np.ndarray, codec: str) -> None:
    whole, refused = encode_flow(fields, codec), list[str]()
    for place in range(12, 128):
        for value in (0, 0x7D, 0xFF):  # the second closes the header's bracket too early
            content = bytearray(whole)
            content[place] = value
            try:
                reader = open_flow(write(tmp_path / "clip", bytes(content)))
                assert reader[[0, len(reader) - 1]].shape[1:] == fields.shape[1:]
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert all(str(tmp_path / "clip") in words for words in refused)


def test_another_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "clip").open("wb") as file:
        np.save(file, np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"float64 \(3, 2\), allowed: uint8"):
        open_flow(tmp_path / "clip")


def test_the_address_depends_on_clip_and_parameters() -> None:
    keys = {clip_key(clip, {"bound": bound}) for clip in "ab" for bound in (1, 2)}
    assert len(keys) == 4
    assert clip_key("a", {"x": 1, "y": 2}) == clip_key("a", {"y": 2, "x": 1})
