"""Recipes and models: names, defaults, JSON schemas."""

from __future__ import annotations

import pytest

from services.recipes import RECIPES
from services.recipes.deviations import DEVIATIONS


def test_recipes_with_defaults_and_schema(shared):
    body = shared.get("/recipes").json()
    assert {entry["name"] for entry in body["items"]} == set(RECIPES)
    assert body["schema"]["properties"]["splits"]
    for entry in body["items"]:
        assert entry["source"]
        assert entry["spec"]["training"]["optimizer"]["learning_rate"] > 0
        assert shared.get(f"/recipes/{entry['name']}").json() == entry


def test_unknown_recipe_is_404_and_names_the_known(shared):
    answer = shared.get("/recipes/tsn")
    assert answer.status_code == 404
    assert "demo_ts_lstm" in answer.json()["detail"]


def test_every_recipe_can_be_submitted_by_what_it_publishes(client):
    """On HMDB51 some start from what UCF101's train."""
    lists = {"root": "/ucf101", "annotations": "/lists", "splits": [1, 2, 3]}
    assert client.post("/datasets", json={"name": "ucf101", **lists}).status_code == 201
    for entry in client.get("/recipes").json()["items"]:
        answer = client.post("/experiments", json=entry["spec"] | {"dataset": "motion_shapes"})
        assert answer.status_code == 202, answer.text


def test_models_by_kind_with_options(shared):
    body = shared.get("/models").json()
    kinds = {entry["kind"]: entry for entry in body["items"]}
    assert kinds.keys() == {
        "convnet", "tsn", "mean_pooling", "max_pooling", "lstm", "ts_lstm", "temporal_convnet", "alstm", "conv_lstm",
        "conv_alstm", "motion_alstm", "video_lstm", "memory", "relational_lstm",
    }  # fmt: skip
    assert kinds["motion_alstm"]["features"] == {"rgb": "map", "flow": "vector"}
    assert (kinds["tsn"]["end_to_end"], kinds["lstm"]["end_to_end"]) == (True, False)
    assert all(entry["description"] and entry["schema"]["properties"] for entry in kinds.values())
    assert kinds["ts_lstm"]["defaults"]["segments"] == 3
    assert kinds["ts_lstm"]["schema"]["properties"]["segments"]["maximum"] == 25
    assert kinds["ts_lstm"]["description"].startswith("Temporal Segment LSTM")
    backbones = body["backbones"]
    assert {"tiny", "resnet18", "resnet101", "vgg16", "bn_inception"} <= set(backbones["names"])
    assert backbones["features"]["vgg16"] == {"fc7": [4096], "pool5": [512, 7, 7]}
    assert body["backbones"]["schema"]["properties"]["weights"]["description"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_api_documents_itself(shared, path):
    assert shared.get(path).status_code == 200


def test_each_schema_has_a_name_of_its_own(shared):
    """Of two that share one, both are called after their modules, and every generated client breaks."""
    assert [name for name in shared.get("/openapi.json").json()["components"]["schemas"] if "__" in name] == []


def test_openapi_references_resolve(shared):
    document = shared.get("/openapi.json").json()

    def references(node):
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in references(document["paths"]):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_deviations_from_a_paper_are_named(shared):
    assert set(shared.get("/recipes/relational_lstm_ucf101").json()["deviations"]) == {"flow", "weights"}
    assert shared.get("/recipes/demo_ts_lstm").json()["deviations"] == {}
    assert DEVIATIONS.keys() <= RECIPES.keys()
