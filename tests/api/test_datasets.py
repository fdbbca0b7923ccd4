"""Datasets: registered once, anew as a revision, looked up by name."""

from __future__ import annotations

import pytest

UCF = {"name": "ucf101-mini", "root": "/data/UCF-101", "annotations": "/data/lists"}


def test_the_generated_dataset_is_there(client):
    [found] = client.get("/datasets").json()
    assert found["name"] == "motion_shapes"
    assert found["splits"] == [1, 2, 3]
    assert found["num_classes"] == 8


def test_register_look_up_replace(client):
    made = client.post("/datasets", json=UCF)
    assert made.status_code == 201
    assert made.headers["location"] == "/datasets/ucf101-mini"
    assert made.json()["revision"] == 1
    assert client.get("/datasets/ucf101-mini").json() == made.json()
    again = client.post("/datasets", json=UCF)
    assert again.status_code == 409
    assert "/data/UCF-101" in again.json()["detail"]
    anew = client.post("/datasets", json=UCF | {"root": "/data/other", "replace": True})
    assert anew.status_code == 201
    assert (anew.json()["revision"], anew.json()["root"]) == (2, "/data/other")
    assert [entry["name"] for entry in client.get("/datasets").json()] == ["motion_shapes", "ucf101-mini"]


def test_a_dataset_of_one_split_has_no_other(client, submit):
    assert client.post("/datasets", json=UCF | {"splits": [1]}).json()["splits"] == [1]
    refused = client.post("/experiments", json={"dataset": UCF["name"], "splits": [1, 2]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "splits.1"
    assert submit(dataset=UCF["name"], splits=[1])
    anew = client.post("/datasets", json=UCF | {"splits": [2, 1], "replace": True})
    assert anew.json()["splits"] == [1, 2]


def test_unknown_name_is_404_and_names_the_known(shared):
    answer = shared.get("/datasets/kinetics")
    assert answer.status_code == 404
    assert "motion_shapes" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": "motion_shapes"}, "name"),
        ({"root": ""}, "root"),
        ({"root": "relative"}, "root"),
        ({"root": "/a\0b"}, "root"),
        ({"root": None}, "root"),
        ({"layout": "kinetics"}, "layout"),
        ({"path": "/x"}, "path"),
    ],
)
def test_bad_bodies_are_422(shared, change, field):
    answer = shared.post("/datasets", json=UCF | change)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_hmdb51_is_a_layout(client):
    made = client.post("/datasets", json=UCF | {"name": "hmdb", "layout": "hmdb51"})
    assert (made.status_code, made.json()["layout"]) == (201, "hmdb51")
