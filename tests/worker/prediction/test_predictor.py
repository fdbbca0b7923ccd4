"""A bundle gives every test clip the scores that the service kept of it, for one system of each family."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import models
from cli.main import main
from services.bundles import mlflow_model
from services.errors import DataError, UserError
from tests.worker.prediction.families import FAMILIES
from worker.prediction.__main__ import main as program

pytestmark = pytest.mark.xdist_group("prediction")
Train = Callable[[dict[str, Any]], Any]
load = partial(models.load, device="cpu", threads=1)
"""Each thread has a process that inspects clips, whose imports take longer than the few clips here."""


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_score_file(
    family: str, trained: Train, record_property: Callable[[str, object], None]
) -> None:
    system = trained(FAMILIES[family])
    with load(system.bundle) as predictor:
        found = predictor.predict(*system.clips)
        difference = np.abs(np.stack([each.scores for each in found]) - system.scores.values).max()
    record_property("families", f"{family:20} {len(found):3} clips   largest difference {difference:.1e}")
    assert difference <= 1e-5
    assert np.ptp(system.scores.values, axis=0).max() > 1e-4, "clips differ, or nothing is compared"


ROOTS = ("numpy", "pydantic")
"""What a predictor stands on beside the extra `worker`."""
ALONE = """
import json, socket, sys
forbidden = set(json.loads(sys.argv[3]))
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in forbidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)  # what is forbidden is not installed, for whoever asks
def refuse(*_):
    raise OSError("no network")
socket.socket.connect = refuse
import models
predictor = models.load(sys.argv[1], device="cpu")
print(json.dumps(predictor.predict(sys.argv[2])[0].top()))
"""


def needed(*roots: str) -> set[str]:
    """Names of the distributions that these stand on, without optional ones."""
    found: set[str] = set()
    left = [*roots]
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            for line in metadata.requires(name) or ():
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    left.append(requirement.name)
    return found


def modules_beyond(allowed: set[str]) -> list[str]:
    """Modules of this environment that come from no other distribution than those."""
    ours = {"api", "cli", "models", "services", "worker"}
    return sorted(
        name
        for name, makers in metadata.packages_distributions().items()
        if name not in ours and not {canonicalize_name(maker) for maker in makers} & allowed
    )


def test_two_lines_of_python_need_the_dependencies_of_the_networks_alone(trained: Train) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    project = tomllib.loads((Path(models.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extra = [Requirement(line).name for line in project["optional-dependencies"]["worker"]]
    forbidden = modules_beyond(needed(*ROOTS, *extra))
    assert {"sqlalchemy", "celery", "mlflow", "fastapi", "redis", "psycopg", "pandas", "pyarrow"} <= {*forbidden}
    assert not {"torch", "av", "cv2", "numpy"} & {*forbidden}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(models.__file__).parents[1])}
    alone = [sys.executable, "-c", ALONE, str(system.bundle), str(system.clips[0]), json.dumps(forbidden)]
    done = subprocess.run(alone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    expected = np.sort(system.scores.values[0])[::-1][:5]
    np.testing.assert_allclose([share for _, share in found], expected, atol=1e-5)
    assert found[0][0] == system.scores.classes[system.scores.values[0].argmax()]


def test_the_command_prints_the_top_five_of_each_clip(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    clips = [str(clip) for clip in system.clips[:2]]
    main_ends(0, "predict", *clips, "--model", str(system.bundle))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in clips] == clips
    assert len(lines) == 2 * (1 + 1 + 5)  # of each clip its name, the names of columns, and five classes


@pytest.mark.long
def test_the_command_prints_json(trained: Train, capsys: pytest.CaptureFixture[str]) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    clips = [str(clip) for clip in system.clips[:2]]
    main_ends(0, "predict", *clips, "--model", str(system.bundle), "--json")
    found = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose([each["scores"] for each in found], system.scores.values[:2], atol=1e-5)
    assert [len(each["top"]) for each in found] == [5, 5]


def test_pictures_show_frames_and_classes(trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system, folder = trained(FAMILIES["TS-LSTM"]), tmp_path / "new" / "pictures"
    twin, odd = (tmp_path / name for name in (system.clips[0].name, os.fsdecode(b"$\xff_$.avi")))
    for path in (twin, odd):
        path.write_bytes(system.clips[0].read_bytes())
    clips = [str(system.clips[0]), str(twin), str(odd)]
    assert program(["--model", str(system.bundle), "--pictures", str(folder), "--top", "3", "--", *clips]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["clip"] for each in found] == clips
    assert [len(each["top"]) for each in found] == [3, 3, 3]
    np.testing.assert_allclose([each["scores"] for each in found], system.scores.values[[0, 0, 0]], atol=1e-5)
    written = [Path(each["picture"]) for each in found]
    stem = twin.stem
    assert written == [folder / f"{stem}.png", folder / f"{stem}-2.png", folder / f"{odd.stem}.png"]
    assert all(path.is_file() for path in written)
    pictures = [cv2.imread(str(path)) for path in written[:2]]
    assert pictures[0] is not None
    height, width, _ = pictures[0].shape
    assert width == 1296
    assert 300 < height < width
    assert np.array_equal(pictures[0], pictures[1])
    assert pictures[0].std() > 10, "nothing is drawn"


def test_what_is_wrong_is_named(trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system, broken, text = trained(FAMILIES["TS-LSTM"]), tmp_path / "broken.zip", tmp_path / "text.avi"
    broken.write_bytes(system.bundle.read_bytes()[:-100])
    assert program(["--model", str(broken), str(system.clips[0])]) == 1
    assert capsys.readouterr().err.startswith(f"{broken} is damaged")
    text.write_text("no clip")
    with load(system.bundle) as predictor:
        for clip, words in ((tmp_path / "none.avi", "none.avi: no such clip"), (text, "text.avi")):
            with pytest.raises(DataError, match=words):
                predictor.predict(system.clips[0], clip)


def changed(bundle: Path, to: Path, about: Callable[[Any], Any] | None = None, weights: Any = None) -> Path:
    """Write a bundle whose JSON or weights of the network are others, with sums that are right."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    found = json.loads(files["bundle.json"])
    if about is not None:
        about(found)
    if weights is not None:
        [name] = (name for name in files if name.startswith("weights/train-"))
        files[name] = weights(files[name])
        own = found["weights"][name.removeprefix("weights/").removesuffix(".safetensors")]
        own.update(bytes=len(files[name]), sha256=hashlib.sha256(files[name]).hexdigest())
    with zipfile.ZipFile(to, "w") as archive:
        for name, content in (files | {"bundle.json": json.dumps(found).encode()}).items():
            archive.writestr(name, content)
    return to


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[bytes], bytes]:
    def write(content: bytes) -> bytes:
        state = safetensors.torch.load(content)
        change(state)
        return safetensors.torch.save(state)

    return write


def stage_of(about: Any, kind: str) -> Any:
    return next(stage for stage in reversed(about["stages"]) if stage["kind"] == kind)


def long(*values: Any) -> Any:
    """Parameters of a test that takes a clip, beside others of the kind that do not."""
    return pytest.param(*values, marks=pytest.mark.long)


NO_TENSORS, OTHERS = "is no file of safetensors", "weights of another network: "


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda content: pickle.dumps({"weight": 1}), NO_TENSORS),
        (lambda content: struct.pack("<Q", 2**63) + b"{}", NO_TENSORS),
        (lambda content: content[:-5], NO_TENSORS),
        (lambda content: content + b"x", NO_TENSORS),
        (tensors(lambda state: state.pop("classifier.bias")), f"{OTHERS}classifier.bias is missing"),
        long(tensors(lambda state: state.update(more=torch.zeros(1))), f"{OTHERS}other names are unknown: 1"),
        long(
            tensors(lambda state: state.update({"classifier.bias": torch.zeros(3)})),
            f"{OTHERS}classifier.bias has shape",
        ),
        long(
            tensors(lambda state: state.update({"classifier.bias": state["classifier.bias"].to(torch.int64)})),
            f"{OTHERS}classifier.bias has type torch.int64",
        ),
        (tensors(lambda state: state["classifier.bias"].fill_(torch.nan)), "its scores are no finite numbers"),
    ],
)
def test_weights_that_somebody_made_are_refused_in_words(
    weights: Callable[[bytes], bytes], words: str, trained: Train, tmp_path: Path
) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    path = changed(system.bundle, tmp_path / "made.zip", weights=weights)
    with pytest.raises(DataError, match=re.escape(words)) as refused, load(path) as predictor:
        predictor.predict(system.clips[0])
    assert str(refused.value).startswith(f"{path}")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (lambda about: stage_of(about, "score")["inputs"].pop("rgb"), "its input rgb is not there"),
        (lambda about: stage_of(about, "score")["inputs"].pop("train"), "its input train is not there"),
        (lambda about: stage_of(about, "extract")["inputs"].pop("flow/0"), "its input flow/0 is not there"),
        (lambda about: stage_of(about, "fuse")["inputs"].clear(), "its input scores is not there"),
        (lambda about: stage_of(about, "extract")["params"].update(frames=10**9), "frames: Input should be less"),
        (lambda about: stage_of(about, "extract")["params"]["backbone"].update(weights="/etc/passwd"), "no path in a"),
        long(
            lambda about: stage_of(about, "flow")["params"].update(algorithm="raft"), "cannot be run as the file says"
        ),
        (lambda about: about.update(classes=["one", "two"]), f"{OTHERS}classifier.weight has shape"),
    ],
)
def test_stages_that_nobody_planned_are_refused_in_words(
    about: Callable[[Any], Any], words: str, trained: Train, tmp_path: Path
) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    path = changed(system.bundle, tmp_path / "made.zip", about)
    with pytest.raises(DataError, match=re.escape(words)) as refused, load(path) as predictor:
        predictor.predict(system.clips[0])
    assert str(refused.value).startswith(f"{path}")


def test_what_a_stage_meant_before_is_said(trained: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    path = changed(system.bundle, tmp_path / "old.zip", lambda about: stage_of(about, "extract").update(version=1))
    load(path).close()
    assert "of version 1, run as version" in caplog.text


@pytest.mark.parametrize("form", ["bundle", "mlflow"])
def test_no_model_of_mlflow_is_made_of_a_damaged_file(form: str, tmp_path: Path, trained: Train, capsys: Any) -> None:
    content = bytearray(trained(FAMILIES["TS-LSTM"]).bundle.read_bytes())
    content[len(content) // 2] ^= 1
    broken, folder = tmp_path / "broken.zip", tmp_path / "model"
    broken.write_bytes(content if form == "mlflow" else b"GIF89a")
    main_ends(1, "export", "--model", str(broken), "--format", "mlflow", "-o", str(folder))
    assert capsys.readouterr().err.startswith(f"twostream: {broken} is ")
    assert not folder.exists()


@pytest.mark.parametrize("form", ["torch", "onnx", "mlflow"])
def test_an_export_that_fails_leaves_nothing_in_the_way_of_the_next(form: str, tmp_path: Path, trained: Train) -> None:
    system, folder = trained(FAMILIES["TS-LSTM"]), tmp_path / "made"
    if form == "mlflow":
        broken = tmp_path / "broken.zip"
        broken.write_bytes(system.bundle.read_bytes()[:-100])
        arguments = ["--model", str(broken)]
    else:
        arguments = ["--model", str(system.bundle), "--clip", str(tmp_path / "none.avi")]
    main_ends(1, "export", *arguments, "--format", form, "-o", str(folder))
    assert not folder.exists()


@pytest.mark.parametrize("name", ["broken\n.zip", "broken\u2028.zip"])
def test_a_refusal_is_one_line_whatever_the_files_are_called(
    name: str, tmp_path: Path, trained: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    system, clip = trained(FAMILIES["TS-LSTM"]), tmp_path / "no\nclip.avi"
    model = changed(system.bundle, tmp_path / name, lambda about: about.update(version=10**6))
    main_ends(1, "predict", str(system.clips[0]), "--model", str(model))
    assert f"{tmp_path}/broken" in capsys.readouterr().err
    main_ends(1, "predict", str(clip), "--model", str(system.bundle))
    assert capsys.readouterr().err == f"twostream: {tmp_path}/no clip.avi: no such clip\n"


@pytest.mark.parametrize(
    "about",
    [
        lambda about: stage_of(about, "score")["params"]["model"].update(kind="a\n\x1b[31m"),
        lambda about: stage_of(about, "extract")["params"].update(feature="a\n\x1b[31m"),
        lambda about: about.update({"a\n\x1b[31m": 1}),
    ],
)
def test_a_refusal_quotes_nothing_that_steers_a_terminal(about: Any, trained: Train, tmp_path: Path) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    path = changed(system.bundle, tmp_path / "made.zip", about)
    with pytest.raises((DataError, UserError)) as refused, load(path) as predictor:
        predictor.predict(system.clips[0])
    assert str(refused.value).isprintable()


def main_ends(code: int, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code or 0) == code


def test_the_callers_random_numbers_stay_as_they_were(trained: Train) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with load(system.bundle) as predictor:
        assert predictor.predict() == []
        first, second = predictor.predict(system.clips[0], system.clips[0])
    assert np.array_equal(first.scores, second.scores)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(DataError, match="no such clip"):
        load(system.bundle).predict("none.avi")


AS_MLFLOW = """
import json, sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps([column.name for column in model.metadata.get_input_schema()]))
print(model.predict(pandas.DataFrame({"clip": sys.argv[2:]})).to_json(orient="split"))
"""


@pytest.mark.long  # `tests/services/tracking/test_register.py` loads one with its signature
def test_mlflow_loads_the_same_bundle_with_its_signature(trained: Train, tmp_path: Path) -> None:
    system, folder = trained(FAMILIES["TS-LSTM"]), tmp_path / "model"
    mlflow_model.write(folder, system.bundle)
    root = str(Path(models.__file__).parents[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "HOME": str(tmp_path)}
    command = [sys.executable, "-c", AS_MLFLOW, str(folder), *map(str, system.clips[:2])]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    columns, frame = map(json.loads, done.stdout.splitlines()[-2:])
    assert (columns, frame["columns"]) == (["clip"], [*system.scores.classes])
    np.testing.assert_allclose(frame["data"], system.scores.values[:2], atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_backbones_and_networks_are_programs_of_torch_export(family: str, trained: Train, tmp_path: Path) -> None:
    system = trained(FAMILIES[family])
    with load(system.bundle) as predictor:
        written, left_out = predictor.export(tmp_path / "programs", system.clips[0])
    assert left_out == {}
    with load(system.bundle) as predictor:
        kinds = [stage.kind for stage in predictor.contents.stages if stage.kind in {"extract", "score"}]
    assert [path.stem.partition("-")[0] for path in written] == kinds
    for path in written:
        torch.export.load(path)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_backbones_and_networks_are_models_of_onnx(
    family: str, trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is compared with its network as it is written, see `write_program`; the shape is a generated clip's."""
    system, folder = trained(FAMILIES[family]), tmp_path / "programs"
    main_ends(0, "export", "--model", str(system.bundle), "--format", "onnx", "-o", str(folder), "--json")
    made = json.loads(capsys.readouterr().out)
    assert made["left_out"] == {}
    assert sorted(made["written"]) == sorted(str(path) for path in folder.glob("*.onnx"))
    assert {Path(path).name.partition("-")[0] for path in made["written"]} >= {"score"}
