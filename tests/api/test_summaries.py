"""What the document calls routes, and whether its examples can be sent."""

from __future__ import annotations

import re


def test_routes_are_called_by_what_they_do(shared):
    paths = shared.get("/openapi.json").json()["paths"]
    summaries = {
        (method, path): found["summary"] for path, methods in paths.items() for method, found in methods.items()
    }
    assert summaries["get", "/experiments"] == "List experiments"
    assert summaries["post", "/experiments"] == "Queue an experiment"
    for summary in summaries.values():
        assert re.fullmatch(r"[A-Z][^.,;:`(]* [^.,;:`(]+", summary), summary


def test_examples_can_be_submitted(shared):
    content = shared.get("/openapi.json").json()["paths"]["/experiments"]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert set(examples) == {"recipe", "spec"}
    for example in examples.values():
        assert shared.post("/experiments?dry_run=true", json=example["value"]).status_code == 200
