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


@pytest.fixture
def lists(tmp_path):
    """A folder of lists that the API sees: two classes, splits 1 and 3."""
    (tmp_path / "classInd.txt").write_text("1 Run\n2 Hop\n")
    for split in (1, 3):
        (tmp_path / f"trainlist0{split}.txt").write_text("Run/a.avi 1\nHop/a.avi 2\nRun/b.avi 1\n")
        (tmp_path / f"testlist0{split}.txt").write_text("Run/c.avi\nHop/c.avi\n")
    return tmp_path


def test_lists_that_the_api_sees_are_read_at_once(client, lists):
    made = client.post("/datasets", json=UCF | {"annotations": str(lists)}).json()
    assert (made["splits"], made["num_classes"], made["num_clips"], made["excluded"]) == ([1, 3], 2, 5, [])
    less = UCF | {"annotations": str(lists), "replace": True, "exclude": ["Run/b.avi"]}
    made = client.post("/datasets", json=less).json()
    assert (made["revision"], made["num_clips"], made["excluded"]) == (2, 4, ["Run/b.avi"])


@pytest.mark.parametrize(
    ("file", "content", "change", "field", "words"),
    [
        ("testlist01.txt", "Run/c.avi\nSit/c.avi\n", {}, "annotations", "testlist01.txt:2: "),
        ("classInd.txt", "1 Run\n2 Hop\n3 Sit\n", {}, "annotations", "class 'Sit' has no clip"),
        ("trainlist03.txt", "", {}, "annotations", "trainlist03.txt: no clips"),
        ("testlist03.txt", "Run/a.avi\n", {}, "annotations", "trainlist03.txt:1 already"),
        ("testlist01.txt", None, {}, "annotations", "testlist01.txt: no such list"),
        (None, None, {"layout": "hmdb51"}, "annotations", "no list named like"),
        (None, None, {"splits": [1, 2, 3]}, "splits", "splits that have lists: 1, 3"),
        (None, None, {"splits": [2]}, "splits", "splits that have lists: 1, 3"),
        (None, None, {"exclude": ["Run/b.avi", "Run/x.avi"]}, "exclude.1", "a clip that a list in"),
        (None, None, {"exclude": ["Run/c.avi", "Hop/c.avi"]}, "exclude", "split 1 has no clips to test"),
        (None, None, {"exclude": ["b.avi"]}, "exclude.0", "matches"),
    ],
)
def test_what_is_wrong_with_lists_is_told_at_registration(shared, lists, file, content, change, field, words):
    if file is not None and content is None:
        (lists / file).unlink()
    elif file is not None:
        (lists / file).write_text(content)
    answer = shared.post("/datasets", json=UCF | {"annotations": str(lists)} | change)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert (error["field"], words in error["allowed"]) == (field, True), error


def test_lists_that_changed_are_refused_or_refreshed(client, lists):
    client.post("/datasets", json=UCF | {"annotations": str(lists)})
    spec = {"dataset": UCF["name"], "splits": [1], "streams": ["rgb"], "backbone": {"name": "tiny"}}
    assert client.post("/experiments", json=spec).status_code == 202
    (lists / "testlist01.txt").write_text("Run/c.avi\n")
    refused = client.post("/experiments", json=spec)
    assert refused.status_code == 409
    assert "have changed since revision 1" in refused.json()["detail"]
    assert "refresh" in refused.json()["detail"]
    made = client.post("/experiments", json=spec | {"refresh": True})
    assert made.status_code == 202
    assert made.json()["reused"] == 0
    assert client.get(f"/datasets/{UCF['name']}").json()["revision"] == 2
    again = client.post("/experiments", json=spec | {"refresh": True}).json()
    assert again["reused"] == again["progress"]["total"]
    assert client.post("/experiments", json=spec | {"refresh": 3}).status_code == 422


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


def test_boxes_are_registered_by_file_and_hash(client, tmp_path):
    elsewhere = client.post("/datasets", json=UCF | {"boxes": "/data/pyannot.pkl"})
    assert (elsewhere.status_code, elsewhere.json()["boxes"]) == (201, "/data/pyannot.pkl")
    refused = client.post("/datasets", json=UCF | {"boxes": str(tmp_path / "x.pkl"), "replace": True})
    [error] = refused.json()["errors"]
    assert (error["field"], "no such file of boxes" in error["allowed"]) == ("boxes", True)
    (tmp_path / "x.pkl").write_bytes(b"whatever: it is not unpickled here")
    anew = client.post("/datasets", json=UCF | {"boxes": str(tmp_path / "x.pkl"), "replace": True})
    assert (anew.json()["boxes"], anew.json()["revision"]) == (str(tmp_path / "x.pkl"), 2)
    assert client.post("/datasets", json=UCF | {"boxes": "x.pkl", "replace": True}).status_code == 422
    assert client.post("/datasets", json=UCF | {"replace": True}).json()["boxes"] == ""


def test_hmdb51_is_a_layout(client):
    made = client.post("/datasets", json=UCF | {"name": "hmdb", "layout": "hmdb51"})
    assert (made.status_code, made.json()["layout"]) == (201, "hmdb51")


CHECK = {
    **dict.fromkeys(("classes", "interlaced", "turned", "mirrored", "excluded"), 0),
    "clips": 3,
    "present": 2,
    "frames": 40,
    "decoder": "FFmpeg",
    "revision": 1,
    "counts": {"sizes": {"320x240": 2}},
    "findings": {"deviations": None, "missing": {"count": 1, "first": ["Run/c.avi"]}},
}


def test_what_the_doctor_found_is_kept_by_revision(client):
    client.post("/datasets", json=UCF)
    assert client.get("/datasets/ucf101-mini").json()["check"] is None
    kept = client.post("/datasets/ucf101-mini/check", json=CHECK)
    assert kept.status_code == 200
    assert (kept.json()["healthy"], kept.json()["checked_by"], kept.json()["revision"]) == (False, "local", 1)
    assert client.get("/datasets/ucf101-mini").json()["check"] == kept.json()
    mended = CHECK | {"present": 3, "findings": {"missing": {"count": 0, "first": []}}}
    again = client.post("/datasets/ucf101-mini/check", json=mended).json()
    assert (again["healthy"], again["present"]) == (True, 3)
    assert again["checked_at"] > kept.json()["checked_at"]
    anew = client.post("/datasets", json=UCF | {"root": "/data/other", "replace": True}).json()
    assert (anew["revision"], anew["check"]) == (2, again)
    second = client.post("/datasets/ucf101-mini/check", json=CHECK | {"revision": 2}).json()
    assert client.get("/datasets/ucf101-mini").json()["check"] == second


@pytest.mark.parametrize(
    ("path", "change", "status", "words"),
    [
        ("ucf101-mini", {"revision": 2}, 422, "revision: got 2, allowed: 1 to 1"),
        ("ucf101-mini", {"clips": -1}, 422, "clips: got -1"),
        ("ucf101-mini", {"findings": {"missing": {"count": 1, "first": ["a\nb"]}}}, 422, "findings.missing.first.0"),
        ("ucf101-mini", {"findings": {"odd": None}}, 422, "findings.odd"),
        ("motion_shapes", {}, 422, "a dataset with folders; this one is generated"),
        ("kinetics", {}, 404, "kinetics"),
    ],
)
def test_what_no_doctor_says_is_refused(client, path, change, status, words):
    client.post("/datasets", json=UCF)
    answer = client.post(f"/datasets/{path}/check", json=CHECK | change)
    assert answer.status_code == status
    assert words in answer.text
