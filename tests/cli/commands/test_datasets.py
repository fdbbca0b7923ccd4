"""Datasets are registered, and again after a change of their lists."""

from __future__ import annotations

import json
import pickle

import numpy as np

from services.datasets.boxes import CLASSES
from tests.cli.conftest import SPEC


def test_a_dataset_is_registered_with_absolute_folders(twostream, tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "classInd.txt").write_text("1 Walk\n")
    for kind in ("train", "test"):
        (tmp_path / "lists" / f"{kind}list01.txt").write_text(f"Walk/v_Walk_g0{len(kind)}_c01.avi 1\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = twostream("dataset", "add", "mine", "--root", "clips", "--splits", "lists")
    assert (code, out, err) == (0, "mine: revision 1, 1 class, 2 clips, splits 1\n", "")
    code, out, _ = twostream("dataset", "list", "--json")
    (mine,) = [dataset for dataset in json.loads(out) if dataset["name"] == "mine"]
    assert mine["root"] == str(tmp_path / "clips")
    assert mine["splits"] == [1]
    assert twostream("dataset", "add", "mine", "--root", "clips", "--splits", "lists")[0] == 4
    assert "mine" in twostream("dataset", "list")[1]
    code, _, err = twostream("dataset", "add", "other", "--root", "nowhere", "--splits", "lists")
    assert (code, err) == (2, "twostream: --root: got 'nowhere', allowed: a folder\n")


def test_named_clips_are_left_out(twostream, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Walk\n")
    (lists / "trainlist01.txt").write_text("Walk/a.avi 1\nWalk/b.avi 1\n")
    (lists / "testlist01.txt").write_text("Walk/c.avi\n")
    exclude = tmp_path / "exclude.txt"
    add = ("dataset", "add", "less", "--root", str(tmp_path), "--splits", str(lists), "--exclude", str(exclude))
    code, _, err = twostream(*add)
    assert (code, err) == (2, f"twostream: --exclude: {exclude}: no such list\n")
    exclude.write_text("\nWalk/x.avi\n")
    code, _, err = twostream(*add)
    assert (code, err) == (2, f"twostream: --exclude: {exclude}:2: got 'Walk/x.avi', allowed: a clip of the lists\n")
    exclude.write_text("Walk/c.avi\n")
    code, _, err = twostream(*add)
    assert (code, err) == (2, "twostream: --exclude: split 1 has no clips to test but those that are left out\n")
    exclude.write_text("Walk/b.avi\n")
    assert twostream(*add) == (0, "less: revision 1, 1 class, 2 clips (1 left out), splits 1\n", "")
    (found,) = [entry for entry in json.loads(twostream("dataset", "list", "--json")[1]) if entry["name"] == "less"]
    assert found["excluded"] == ["Walk/b.avi"]
    assert "left out" in twostream("dataset", "list")[1]


def test_boxes_are_checked_against_the_lists(twostream, tmp_path):
    lists, boxes = tmp_path / "lists", tmp_path / "pyannot.pkl"
    lists.mkdir()
    names = CLASSES.split()
    (lists / "classInd.txt").write_text("".join(f"{label} {name}\n" for label, name in enumerate(names, 1)))
    (lists / "trainlist01.txt").write_text("".join(f"{name}/a.avi {label}\n" for label, name in enumerate(names, 1)))
    (lists / "testlist01.txt").write_text("Biking/c.avi\n")
    add = ("dataset", "add", "boxed", "--root", str(tmp_path), "--splits", str(lists), "--boxes", str(boxes))
    assert twostream(*add) == (2, "", f"twostream: --boxes: {boxes}: no such file of boxes\n")
    tube = {"label": 2, "sf": 0, "ef": 3, "boxes": np.full((3, 4), 9, np.uint8)}
    clip = {"numf": 3, "label": 2, "annotations": [tube]}
    boxes.write_bytes(pickle.dumps({"Biking/x": clip}))
    assert twostream(*add)[2] == f"twostream: --boxes: {boxes}: 1 clip, none of which the dataset has\n"
    boxes.write_bytes(pickle.dumps({"Biking/c": clip | {"annotations": [tube | {"ef": 2}]}}))
    code, _, err = twostream(*add)
    assert (code, err) == (2, f"twostream: --boxes: {boxes}: Biking/c: tube 0: boxes (3, 4) for frames 0 to 1\n")
    boxes.write_bytes(pickle.dumps({"Biking/c": clip}))
    assert twostream(*add)[1] == "boxed: revision 1, 24 classes, 25 clips, 1 with boxes, splits 1\n"
    (found,) = [entry for entry in json.loads(twostream("dataset", "list", "--json")[1]) if entry["name"] == "boxed"]
    assert found["boxes"] == str(boxes)


def test_lists_that_changed_are_refused_or_refreshed(twostream, tmp_path):
    lists, path = tmp_path / "lists", tmp_path / "spec.yaml"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Walk\n")
    (lists / "trainlist01.txt").write_text("Walk/a.avi 1\nWalk/b.avi 1\n")
    (lists / "testlist01.txt").write_text("Walk/c.avi\n")
    path.write_text(SPEC.replace("motion_shapes", "edited"))
    (tmp_path / "Walk").mkdir()
    for clip in "abcd":
        (tmp_path / "Walk" / f"{clip}.avi").touch()
    assert twostream("dataset", "add", "edited", "--root", str(tmp_path), "--splits", str(lists))[0] == 0
    assert twostream("submit", str(path))[0] == 0
    (lists / "testlist01.txt").write_text("Walk/d.avi\n")
    code, _, err = twostream("submit", str(path))
    assert (code, "have changed since revision 1" in err, "refresh" in err) == (4, True, True)
    assert twostream("submit", str(path), "--refresh")[0] == 0
    (found,) = [entry for entry in json.loads(twostream("dataset", "list", "--json")[1]) if entry["name"] == "edited"]
    assert found["revision"] == 2


def test_lists_are_read_before_they_are_registered(twostream, tmp_path):
    for code in ("clap", "wave"):
        (tmp_path / f"{code}_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \n")
    add = ("dataset", "add", "hmdb", "--root", str(tmp_path), "--splits", str(tmp_path))
    code, _, err = twostream(*add)
    assert code == 2
    assert err.endswith("classInd.txt: no such list; hint: --layout hmdb51 reads these lists\n")
    code, _, err = twostream(*add, "--layout", "kinetics")
    assert (code, err) == (2, "twostream: --layout: got 'kinetics', allowed: ucf101, hmdb51\n")
    code, out, _ = twostream(*add, "--layout", "hmdb51")
    assert (code, out) == (0, "hmdb: revision 1, 2 classes, 4 clips, splits 1\n")
    (tmp_path / "wave_test_split1.txt").unlink()
    (tmp_path / "clap_test_split1.txt").write_text("a.avi 7\n")
    code, _, err = twostream(*add, "--layout", "hmdb51", "--replace")
    assert code == 2
    assert "clap_test_split1.txt:1: got 'a.avi 7', allowed: '<clip> <code>' with code 0, 1 or 2\n" in err
