"""What Postgres cannot keep is refused before it gets there, and nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.storable import MAX_DEPTH, require_storable
from services.errors import InvalidRequest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(JSON)
def test_what_passes_can_be_written_as_json_of_postgres(value):
    try:
        require_storable(value)
    except InvalidRequest:
        return
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode("utf-8")
    assert "\\u0000" not in text


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": {"b": ["x", "\0"]}}, "a.b.1"),
        ({"a": {"\ud800": 1}}, "a"),
        ({"a": float("nan")}, "a"),
        ("\udfff", "body"),
    ],
)
def test_names_the_place(value, field):
    with pytest.raises(InvalidRequest) as caught:
        require_storable(value)
    assert caught.value.field == field


def test_depth_is_bounded():
    value: object = 1
    for _ in range(MAX_DEPTH):
        value = [value]
    require_storable(value)
    with pytest.raises(InvalidRequest, match="levels"):
        require_storable([value])
