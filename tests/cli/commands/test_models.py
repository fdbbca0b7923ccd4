"""`twostream export`: a bundle is written whole or not at all; `predict`: what it is asked for wrongly."""

from __future__ import annotations

import json

import pytest

from cli.commands import models
from services.bundles.files import BundleFile
from tests.api.conftest import SPEC, Worker
from tests.api.finished import Publisher


@pytest.fixture
def finished(twostream, database, api_home, tmp_path) -> str:
    """Id of an experiment whose model is in the store."""
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(SPEC))
    code, out, err = twostream("submit", str(file))
    assert code == 0, err
    Publisher(Worker(database, 0.5), api_home / "artifacts").finish_all()
    return out.strip()


def test_a_model_is_exported(twostream, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"{finished}-split1-seed0.zip"
    assert twostream("export", finished) == (0, f"{name}\n", "")
    with BundleFile(tmp_path / name) as file:
        assert file.contents.experiment == finished
    code, out, _ = twostream("export", finished, "-o", str(tmp_path / "x.zip"), "--json")
    expected = {"id": finished, "split": 1, "seed": 0, "file": str(tmp_path / "x.zip")}
    assert (code, json.loads(out)) == (0, expected | {"bytes": (tmp_path / name).stat().st_size})
    code, _, err = twostream("export", finished, "-o", str(tmp_path / "y.zip"), "--split", "2")
    assert (code, "split: got 2, allowed: 1" in err) == (2, True)
    code, _, err = twostream("export", finished, "-o", str(tmp_path / "none" / "y.zip"))
    assert (code, "--output: got" in err) == (2, True)
    assert {path.name for path in tmp_path.glob("*.zip")} == {name, "x.zip"}
    folder = tmp_path / "model"
    assert twostream("export", finished, "--mlflow", "-o", str(folder)) == (0, f"{folder}\n", "")
    assert (folder / "system.zip").read_bytes() == (tmp_path / name).read_bytes()
    code, _, err = twostream("export", finished, "--mlflow", "-o", str(folder))
    assert (code, "allowed: a folder that is not there yet" in err) == (2, True)


def test_an_experiment_that_is_not_there_has_no_model(twostream, tmp_path):
    assert twostream("export", "exp_0123456789")[0] == 3
    assert twostream("predict", "clip.avi", "--experiment", "exp_0123456789")[0] == 3


def test_predict_says_which_options_go_together(twostream):
    for options in ((), ("--model", "x.zip", "--experiment", "exp_1")):
        assert twostream("predict", "clip.avi", *options)[0::2] == (
            2,
            "twostream: --model or --experiment: allowed: one of the two\n",
        )
    code, _, err = twostream("predict", "clip.avi", "--model", "x.zip", "--split", "1")
    assert (code, err.startswith("twostream: --split and --seed: allowed with --experiment")) == (2, True)


def test_pictures_go_into_a_folder(twostream, tmp_path):
    (tmp_path / "x").write_text("")
    code, _, err = twostream("predict", "clip.avi", "--model", "x.zip", "--pictures", str(tmp_path / "x"))
    assert (code, err) == (2, f"twostream: --pictures: got {str(tmp_path / 'x')!r}, allowed: a folder\n")


def test_registering_says_that_there_is_no_mlflow(twostream, finished):
    code, _, err = twostream("register", finished)
    assert (code, "TWOSTREAM_MLFLOW_URL: not set" in err) == (1, True)
    assert twostream("register", "exp_0123456789")[0] == 3


def test_export_says_which_options_go_together(twostream, tmp_path):
    for options, words in (
        ((), "ID or --model: allowed: one of the two"),
        (("exp_1", "--model", "x.zip"), "ID or --model: allowed: one of the two"),
        (("--model", "x.zip"), "--model: allowed with --format torch, onnx or mlflow"),
        (("--model", "x.zip", "--format", "onnx", "--seed", "1"), "without --split and --seed"),
        (("exp_1", "--format", "tensorflow"), "--format: got 'tensorflow', allowed: bundle, mlflow, torch, onnx"),
        (("exp_1", "--clip", "x.avi"), "--clip: allowed with --format torch or onnx"),
        (("--model", "x.zip", "--format", "torch", "-o", str(tmp_path)), "allowed: a folder that is not there yet"),
    ):
        code, _, err = twostream("export", *options)
        assert (code, words in err) == (2, True), err


def test_a_missing_extra_is_told_in_one_line(twostream, monkeypatch):
    known = models.find_spec
    monkeypatch.setattr(models, "find_spec", lambda name: None if name.startswith("onnx") else known(name))
    expected = "twostream: export --format onnx needs onnx, onnxscript; hint: pip install 'twostream[worker,onnx]'\n"
    assert twostream("export", "--model", "x.zip", "--format", "onnx") == (1, "", expected)
