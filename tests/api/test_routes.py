"""What holds on every route: nothing that was sent is ignored, HEAD and OPTIONS are answered."""

from __future__ import annotations

import json
import re

import pytest

from tests.api.routes import routes_of

ROUTES = routes_of()
every_route = pytest.mark.parametrize(("method", "path"), ROUTES)


def at(path: str) -> str:
    """Return a path with parameters that lead somewhere, as far as they can."""
    known = {"path:path": "style.css", "name": "motion_shapes" if "datasets" in path else "demo_ts_lstm"}
    return re.sub(r"{([\w:]+)}", lambda found: known.get(found[1], "exp_1"), path)


def test_pages_and_documents_are_among_the_routes():
    assert {path for _, path in ROUTES} >= {
        "/",
        "/docs",
        "/openapi.json",
        "/static/{path:path}",
        "/health/live",
        "/keys",
    }


@every_route
@pytest.mark.parametrize("query", ["dry_run=true", "splt=1", "format=", "%00=1", "q", "DATASET=a"])
def test_an_unknown_query_parameter_is_422_and_names_the_known(shared, method, path, query):
    answer = shared.request(method, f"{at(path)}?{query}", json={})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["field"] == query.partition("=")[0].replace("%00", "\0")
    assert re.fullmatch(r"query parameters of this route: .+|no query parameters on this route", error["allowed"])


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/experiments", "cursor, dataset, limit, state"),
        ("/leaderboard", "cursor, dataset, limit, metric, protocol, revision, split, stream"),
        ("/", "cursor, dataset, metric, protocol, revision, split, stream"),
        ("/experiments/exp_1/logs", "stage"),
        ("/cache", "kind"),
    ],
)
def test_the_known_ones_are_those_of_the_route(shared, path, known):
    [error] = shared.get(f"{path}?dry_run=true").json()["errors"]
    assert error == {"field": "dry_run", "value": "true", "allowed": f"query parameters of this route: {known}"}


def test_nothing_is_queued_by_a_dry_run_that_is_none(client):
    spec = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"]}
    assert client.post("/experiments?dry_run=true", json=spec).status_code == 422
    assert client.get("/experiments").json()["items"] == []


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&limit=1", "state=failed&state="])
def test_a_parameter_given_twice_is_422(shared, query):
    answer = shared.get(f"/experiments?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["allowed"] == "one value; it is given more than once"


@pytest.mark.parametrize("name", ["Idempotency-Key", "Last-Event-ID", "Authorization", "Content-Type"])
def test_a_header_given_twice_is_422(shared, name):
    answer = shared.post("/experiments", content=b"{}", headers=[(name, "1"), (name, "2")])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == name.lower()


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


@every_route
def test_head_is_get_without_its_body(shared, method, path):
    if path.endswith("/events"):
        assert shared.head(at(path)).status_code == 404
        return
    got, head = shared.get(at(path)), shared.head(at(path))
    assert (head.status_code, head.content) == (got.status_code, b"")
    changing = {"content-length"} if path == "/metrics" else set()  # ages grow by a digit
    assert {**head.headers, **dict.fromkeys(changing)} == {**got.headers, **dict.fromkeys(changing)}


@every_route
def test_options_name_the_methods(shared, method, path):
    answer = shared.options(at(path))
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = answer.headers["allow"].split(", ")
    assert {method, "OPTIONS"} <= set(allowed)
    assert ("HEAD" in allowed) == ("GET" in allowed)


def test_options_of_nothing_are_404(shared):
    assert shared.options("/nowhere").status_code == 404


def test_a_name_that_no_file_has_is_404(shared):
    for name in ("a%00b", "%2e%2e/pages.py", "../pages.py", "x" * 5000, ""):
        assert shared.get(f"/static/{name}").status_code == 404, name


def test_json_of_the_documents_is_what_the_application_says(shared):
    document = json.loads(shared.get("/openapi.json").content)
    submitted = document["paths"]["/experiments"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "motion_shapes" in submitted.pop("properties")["dataset"]["enum"]
    [ranked] = [each for each in document["paths"]["/leaderboard"]["get"]["parameters"] if each["name"] == "dataset"]
    assert "motion_shapes" in ranked["schema"].pop("enum")
    assert document == shared.app.openapi()


@pytest.mark.parametrize(("written", "priority"), [("50.0", 50), ("5e1", 50), ("0.0", 0), ("-0.0", 0)])
def test_a_whole_number_is_an_integer_however_it_is_written(shared, written, priority):
    json_type = {"Content-Type": "application/json"}
    body = f'{{"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"], "priority": {written}}}'
    answer = shared.post("/experiments", content=body, headers=json_type)
    assert (answer.status_code, answer.json().get("priority")) == (202, priority)
    assert shared.post("/experiments", content=body.replace(written, "0.5"), headers=json_type).status_code == 422
