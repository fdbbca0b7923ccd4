"""No query parameter and no header that was sent is ignored, on any route."""

from __future__ import annotations

import re

import pytest

from api.app import OPEN_ROUTERS, ROUTERS
from tests.api.routes import ROUTES, at, every_route


def test_no_route_of_any_module_is_left_out():
    routes = [route for module in (*ROUTERS, *OPEN_ROUTERS) for route in module.router.routes]
    assert {(method, route.path) for route in routes for method in route.methods} == set(ROUTES)


@every_route
@pytest.mark.parametrize("query", ["dryrun=true", "splt=1", "outline=", "%00=1", "q", "DATASET=a"])
def test_an_unknown_query_parameter_is_422_and_names_the_known(shared, method, path, query):
    answer = shared.request(method, f"{at(path)}?{query}", json={})
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["field"] == query.partition("=")[0].replace("%00", "\0")
    assert re.fullmatch(r"query parameters of this route: .+|no query parameters on this route", error["allowed"])


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/experiments", "archived, cursor, dataset, id, limit, model, name, owner, search, state, sweep, tag"),
        (
            "/leaderboard",
            "cursor, dataset, format, limit, metric, model, protocol, published, revision, seeds, selected_on_test,"
            " source, split, stream, vary",
        ),
        ("/", "cursor, dataset, metric, model, protocol, revision, seeds, selected_on_test, source, split, stream"),
        ("/experiments/exp_1/logs", "stage"),
        ("/cache", "kind"),
    ],
)
def test_the_known_ones_are_those_of_the_route(shared, path, known):
    [error] = shared.get(f"{path}?dry_run=true").json()["errors"]
    assert error == {"field": "dry_run", "value": "true", "allowed": f"query parameters of this route: {known}"}


def test_a_submission_knows_dry_run_alone(shared):
    [error] = shared.post("/experiments?dryrun=true", json={}).json()["errors"]
    assert error["allowed"] == "query parameters of this route: dry_run"


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


VERBS = re.compile(r"^(be|have|match|contain|should|equal)\b")
HOSTILE = ("", "x" * 5000, "\0", "-1", "9" * 40, "nan", "a b", "\u202e")


def test_what_is_allowed_is_said_as_a_thing_by_every_parameter(shared):
    """Of each that the document describes: `allowed: at most 200 characters`, never `allowed: have at most`."""
    said = set()
    for path, methods in shared.get("/openapi.json").json()["paths"].items():
        for parameter in methods.get("get", {}).get("parameters", ()):
            if parameter["in"] != "query" or path.endswith("/events"):
                continue
            for value in HOSTILE:
                answer = shared.get(at(path), params={parameter["name"]: value}, headers={"Accept": "application/json"})
                if answer.status_code == 422:
                    said |= {error["allowed"] for error in answer.json()["errors"]}
    assert len(said) > 10
    assert [words for words in said if VERBS.match(words)] == []
