"""No part of a body that was sent is ignored, on any route, and none is converted."""

from __future__ import annotations

import pytest

from tests.api.routes import at, every_route


@every_route
@pytest.mark.parametrize("body", [b'{"dry_run": true}', b"[]", b"null", b"x"])
def test_a_body_that_the_route_does_not_read_is_refused(shared, method, path, body):
    answer = shared.request(method, at(path), content=body, headers={"Content-Type": "application/json"})
    needs_administrator = path.startswith("/keys") and method == "POST"  # of whom there is none on loopback
    assert answer.status_code == (403 if needs_administrator else 422), answer.text


@pytest.mark.parametrize("path", ["/experiments/exp_1/cancel", "/experiments/exp_1/retry"])
def test_a_route_without_fields_says_so(shared, path):
    [error] = shared.post(path, json={"force": True}).json()["errors"]
    assert (error["field"], error["allowed"]) == ("body", "no body, or {}: this route takes no fields")


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_an_empty_body_is_none(shared, body):
    assert shared.request("GET", "/experiments", content=body).status_code == 200
    assert shared.post("/experiments/exp_1/cancel", content=body).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"dataset": "a", "dataset": "motion_shapes"}', "dataset"),
        ('{"dataset": "a", "training": {"epochs": 7}, "training": {"epochs": 7}}', "training"),
        ('{"training": {"optimizer": {"learning_rate": 1, "learning_rate": 2}}}', "training.optimizer.learning_rate"),
        ('{"a": [{"b": 1}, {"c": 1, "c": 1}]}', "a.1.c"),
        ('{"\\u0061": 1, "a": 2}', "a"),
    ],
)
@pytest.mark.parametrize("path", ["/experiments", "/datasets", "/cache/gc"])
def test_a_field_given_twice_in_json_is_refused_by_name(shared, path, body, field):
    answer = shared.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["field"], error["allowed"]) == (field, "each field once; this one stands twice")


@pytest.mark.parametrize(
    "change",
    [
        {"priority": "50"},
        {"priority": True},
        {"seeds": ["0"]},
        {"seeds": [False]},
        {"name": 7},
        {"training": {"epochs": "7"}},
        {"training": {"optimizer": {"learning_rate": "1e-3"}}},
        {"training": {"epochs": True}},
        {"fusion": {"rgb": True}},
        {"streams": {"rgb": 1}},
    ],
)
@pytest.mark.parametrize("base", [{"dataset": "motion_shapes"}, {"recipe": "demo_ts_lstm"}])
def test_a_value_of_another_type_is_refused_not_converted(shared, base, change):
    answer = shared.post("/experiments", json=base | change)
    assert answer.status_code == 422, answer.text


@pytest.mark.parametrize(("written", "priority"), [("50.0", 50), ("5e1", 50), ("0.0", 0), ("-0.0", 0)])
def test_a_whole_number_is_an_integer_however_it_is_written(module_client, written, priority):
    json_type = {"Content-Type": "application/json"}
    body = f'{{"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"], "priority": {written}}}'
    answer = module_client.post("/experiments", content=body, headers=json_type)
    assert (answer.status_code, answer.json().get("priority")) == (202, priority)
    refused = module_client.post("/experiments", content=body.replace(written, "0.5"), headers=json_type)
    assert refused.status_code == 422
