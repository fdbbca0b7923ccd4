"""Whatever comes in, the answer is never a 500."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.recipes import RECIPES

GOOD = RECIPES["demo_ts_lstm"].spec.model_dump(mode="json")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(["", "\0", "ts_lstm", "rgb", "motion_shapes", "../../etc/passwd", "1" * 5000])
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3))
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
QUERY = st.text(st.characters(codec="utf-8"), max_size=30)


def paths(spec: Any, here: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every place in a spec, inner ones too."""
    found = [here] if here else []
    if isinstance(spec, dict):
        found += [path for key, value in spec.items() for path in paths(value, (*here, key))]
    return found


@FEW
@given(st.sampled_from(paths(GOOD)), JSON, st.sampled_from(["", "unknown"]))
def test_specs_with_one_field_replaced(module_client, path, value, added):
    body = copy.deepcopy(GOOD)
    place = body
    for step in path[:-1]:
        place = place[step]
    place[added or path[-1]] = value
    answer = module_client.post("/experiments", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 422:
        assert answer.json()["errors"]


@FEW
@given(st.sampled_from(["/experiments", "/datasets"]), JSON)
def test_any_json(shared, path, value):
    answer = shared.post(path, content=json.dumps(value), headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]


@FEW
@given(st.sampled_from(["/experiments", "/datasets"]), st.binary(max_size=50))
def test_any_bytes(shared, path, content):
    answer = shared.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text


@FEW
@given(
    st.sampled_from(["/", "/experiments", "/leaderboard"]),
    st.dictionaries(
        st.sampled_from(["dataset", "split", "stream", "metric", "protocol", "limit", "cursor", "state"]), QUERY
    ),
)
def test_any_query(shared, path, query):
    assert shared.get(path, params=query).status_code in (200, 422)


@pytest.mark.parametrize("name", ["x" * 5000, "%", "%2e%2e", "%ff", "a%0ab", "é", "'; DROP TABLE experiment; --"])
@pytest.mark.parametrize("path", ["/experiments/{}", "/experiments/{}/logs", "/datasets/{}", "/recipes/{}"])
def test_any_name(shared, path, name):
    assert shared.get(path.format(name)).status_code in (404, 422)
