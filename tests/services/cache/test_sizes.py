from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from services.cache.sizes import ALLOWED, parse_bytes, word_bytes


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, 0),
        ("0", 0),
        ("12345", 12345),
        ("200GB", 200 * 10**9),
        (" 1.5 tb ", 15 * 10**11),
        ("64GiB", 64 * 2**30),
        ("0.1KB", 100),
        ("9007199254740993B", 2**53 + 1),
    ],
)
def test_sizes_as_people_write_them(size: object, expected: int) -> None:
    assert parse_bytes(size) == expected


@pytest.mark.parametrize(
    "size", ["", "GB", "-1", "-1GB", "1.GB", "1 PB", "1e9", "9" * 5000, 2**63, -1, 1.5, True, None, []]
)
def test_no_sizes_are_refused_by_value_and_what_is_allowed(size: object) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse_bytes(size)
    assert caught.value.context == {"field": "", "value": size, "allowed": ALLOWED}


@given(st.integers(0, 10**15))
def test_words_are_a_size_again_within_their_digits(size: int) -> None:
    assert parse_bytes(word_bytes(size)) == pytest.approx(size, rel=0.005)
