"""The interactive reference, and the document that it shows."""

from __future__ import annotations

import json

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
