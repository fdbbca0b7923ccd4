"""`GET /experiments/{id}/model`: whole bundles, and refusals in words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from services.bundles.files import BundleFile
from services.settings import Settings
from tests.api.finished import WEIGHTS, Publisher
from tests.api.test_scores import as_npz, send

FINETUNED = {"backbone": {"name": "tiny"}, "streams": ["rgb", "flow"], "splits": [1, 2], "seeds": [3, 4]}
ENDED = {"backbone": {"name": "tiny", "finetune": None}, "splits": [1]}


@pytest.fixture
def finish(worker: Any, settings: Settings) -> Any:
    return Publisher(worker(), Path(settings.artifacts)).finish_all


def test_a_model_comes_as_a_bundle(client: Any, submit: Any, finish: Any, tmp_path: Path) -> None:
    made = submit(**FINETUNED, name="Two streams, ümlaut")
    finish()
    answer = client.get(f"/experiments/{made['id']}/model?split=2&seed=4")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    name = 'attachment; filename="two-streams-mlaut-split2-seed4.zip"'
    assert answer.headers["Content-Disposition"] == name
    path = tmp_path / "model.zip"
    path.write_bytes(answer.content)
    with BundleFile(path) as file:
        found = file.contents
        for weights in found.weights:
            file.unpack(weights, tmp_path / f"{weights}.safetensors")
    assert (found.experiment, found.split, found.seed) == (made["id"], 2, 4)
    assert [stage.kind for stage in found.stages] == [
        *("finetune", "extract", "train", "score"),
        *("flow", "finetune", "extract", "train", "score", "fuse"),
    ]
    assert sorted(name.partition("-")[0] for name in found.weights) == ["finetune", "finetune", "train", "train"]
    [entry, *_] = found.weights
    assert load_file(tmp_path / f"{entry}.safetensors").keys() == WEIGHTS.keys()
    assert {result.stream: result.metrics["top1"] for result in found.report} == {
        "flow": 0.5,
        "rgb": 0.5,
        "two-stream": 0.5,
    }
    assert client.get(f"/experiments/{made['id']}/model?split=2&seed=4").content == answer.content, "equal bytes"
    first = client.get(f"/experiments/{made['id']}/model")
    assert 'split1-seed3.zip"' in first.headers["Content-Disposition"]
    assert not list((tmp_path / "home").rglob("bundle-*")), "nothing is left behind"


def test_splits_and_seeds_that_are_not_there_are_named(client: Any, submit: Any) -> None:
    path = f"/experiments/{submit(**FINETUNED)['id']}/model"
    for query, field, allowed in (("split=3", "split", "1, 2"), ("seed=9", "seed", "3, 4")):
        answer = client.get(f"{path}?{query}")
        assert answer.status_code == 422
        [error] = answer.json()["errors"]
        assert (error["field"], error["allowed"]) == (field, allowed)
    assert client.get("/experiments/exp_0123456789/model").status_code == 404


def test_a_model_that_is_not_there_says_why(client: Any, submit: Any, finish: Any, settings: Settings) -> None:
    path = f"/experiments/{submit(**ENDED)['id']}/model"
    answer = client.get(path)
    assert answer.status_code == 409
    assert "fuse rgb, split 1, seed 0 is waiting: there is no system yet" in answer.json()["detail"]
    finish()
    assert client.get(path).status_code == 200
    [weights] = Path(settings.artifacts).rglob("model.pt")
    weights.write_bytes(weights.read_bytes()[:-50])
    answer = client.get(path)
    assert (answer.status_code, "model.pt: no file of torch.save, or cut off" in answer.text) == (409, True)
    shutil.rmtree(weights.parent)
    answer = client.get(path)
    assert (answer.status_code, "nothing at" in answer.text) == (409, True)


def test_files_of_weights_go_along(client: Any, submit: Any, finish: Any, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415

    file = tmp_path / "backbone.pt"
    torch.save({"state_dict": {"0.weight": torch.ones(2)}}, file)
    made = submit(backbone={"name": "tiny", "finetune": None, "weights": str(file)}, splits=[1])
    finish()
    answer = client.get(f"/experiments/{made['id']}/model")
    assert answer.status_code == 200, answer.text
    path = tmp_path / "model.zip"
    path.write_bytes(answer.content)
    with BundleFile(path) as bundle:
        [extract] = [stage for stage in bundle.contents.stages if stage.kind == "extract"]
        assert extract.params["backbone"]["weights"] == "none"
        bundle.unpack(extract.inputs["weights"], tmp_path / "file.safetensors")
    assert load_file(tmp_path / "file.safetensors").keys() == {"0.weight"}
    file.unlink()
    assert client.get(f"/experiments/{made['id']}/model").status_code == 409


def test_brought_scores_have_no_model(client: Any, submit: Any, finish: Any) -> None:
    brought = send(client, as_npz(), file_type="npz").json()["id"]
    alone = submit(**ENDED)
    members = [{"experiment": alone["id"], "stream": "rgb"}, {"scores": [brought]}]
    body = {"name": "both", "dataset": "motion_shapes", "splits": [1], "members": members}
    made = client.post("/experiments", json=body).json()
    finish()
    answer = client.get(f"/experiments/{made['id']}/model")
    assert answer.status_code == 409
    assert "scores that were brought have no network" in answer.json()["detail"]
