"""The interactive reference, and the document that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from jsonschema import Draft202012Validator

from tests.api.routes import ROUTES


def test_pages_and_documents_are_among_the_routes():
    assert {path for _, path in ROUTES} >= {
        "/",
        "/docs",
        "/openapi.json",
        "/static/{path:path}",
        "/health/live",
        "/keys",
    }


def test_json_of_the_documents_is_what_the_application_says(shared):
    document = json.loads(shared.get("/openapi.json").content)
    submitted = document["paths"]["/experiments"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "motion_shapes" in submitted.pop("properties")["dataset"]["enum"]
    [ranked] = [each for each in document["paths"]["/leaderboard"]["get"]["parameters"] if each["name"] == "dataset"]
    assert "motion_shapes" in ranked["schema"].pop("enum")
    assert document == shared.app.openapi()


def test_every_body_has_an_example_that_its_schema_takes(shared):
    document = shared.app.openapi()
    bodies = {
        f"{method} {path}": content
        for path, methods in document["paths"].items()
        for method, route in methods.items()
        if (content := route.get("requestBody", {}).get("content", {}).get("application/json")) is not None
    }
    assert len(bodies) > 9
    for place, content in bodies.items():
        examples = [each["value"] for each in content.get("examples", {}).values()] or [content["example"]]
        for example in examples:
            schema = content["schema"] | {"components": document["components"]}
            assert [error.message for error in Draft202012Validator(schema).iter_errors(example)] == [], place


def test_the_reference_runs_its_own_scripts_alone(shared):
    page = shared.get("/docs")
    policy = page.headers["content-security-policy"]
    [own] = re.findall("<script>(.*?)</script>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
