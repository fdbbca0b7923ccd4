"""What stages leave for pictures: written and read, the same bytes again, and clips spread over classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import DataError
from services.pictures import (
    PICTURES_FILE,
    FlowStrip,
    Strip,
    TestPictures,
    read_flow,
    read_test,
    spaced,
    spread,
    write_flow,
    write_test,
)

SHARES = np.full((2, 3, 4), 1 / 12, np.float16)
SEEN = Strip("Run/a", (0, 2), (3, 9), (b"one", b"three"), (320, 240), (40.0, 0.0, 240.0, 240.0), SHARES)
UNATTENDED = Strip("Run/b", (0,), (1,), (b"two",), (320, 240), (0.0, 0.0, 320.0, 240.0))


def test_what_a_test_leaves_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float16).reshape(2, 3)
    left = TestPictures(rows, True, (rows > 2).astype(np.uint8), rows / 6, 0.5, (SEEN, UNATTENDED))
    write_test(tmp_path, left)
    found = read_test(tmp_path)
    assert (found.projected, found.threshold) == (True, 0.5)
    for name in ("embeddings", "writes", "probability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(left, name))
    for strip, written in zip(found.strips, left.strips, strict=True):
        for name in ("clip", "steps", "frames", "images", "size", "region"):
            assert getattr(strip, name) == getattr(written, name)
    np.testing.assert_array_equal(found.strips[0].attention, SHARES)
    assert found.strips[1].attention is None
    first = (tmp_path / PICTURES_FILE).read_bytes()
    write_test(tmp_path, left)
    assert (tmp_path / PICTURES_FILE).read_bytes() == first


def test_a_test_may_leave_nothing(tmp_path: Path) -> None:
    write_test(tmp_path, TestPictures())
    assert (read_test(tmp_path).embeddings, read_test(tmp_path).strips) == (None, ())


def test_flow_is_read_as_it_was_written(tmp_path: Path) -> None:
    motion = np.arange(8, dtype=np.float16).reshape(1, 2, 2, 2)
    write_flow(tmp_path, [FlowStrip("a", (4,), (b"x",), motion, True), FlowStrip("b", (5,), (b"yy",), -motion, False)])
    one, other = read_flow(tmp_path)
    assert (one.clip, one.frames, one.images, one.in_pixels) == ("a", (4,), (b"x",), True)
    assert (other.images, other.in_pixels) == ((b"yy",), False)
    np.testing.assert_array_equal(other.motion, -motion)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 broken"])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / PICTURES_FILE).write_bytes(content)
    for read in (read_test, read_flow):
        with pytest.raises(DataError, match=r"pictures\.npz: no pictures"):
            read(tmp_path)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 50))
def test_clips_are_spread_over_classes(labels: list[int], count: int) -> None:
    places = spread(labels, count)
    assert places == sorted(set(places))
    assert len(places) == min(count, len(labels))
    chosen = [labels[place] for place in places]
    assert len(set(chosen)) == min(len(set(labels)), count)
    counts = [chosen.count(label) for label in set(labels)]
    spare = [chosen.count(label) for label in set(labels) if chosen.count(label) < labels.count(label)]
    assert not spare or not counts or max(counts) - min(spare) <= 1


@given(st.integers(1, 300), st.integers(1, 40))
def test_steps_are_spaced_each_once(length: int, most: int) -> None:
    steps = spaced(length, most)
    assert steps[0] == 0
    assert len(steps) == len(set(steps.tolist())) == min(length, most)
    assert steps[-1] == (length - 1 if most > 1 or length == 1 else 0)
