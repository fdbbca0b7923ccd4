"""A bundle gives every test clip the scores that the service kept of it, for one system of each family."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from cli.main import main
from services.bundles import mlflow_model
from services.errors import DataError
from tests.worker.prediction.families import FAMILIES

Train = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_score_file(family: str, trained: Train) -> None:
    system = trained(FAMILIES[family])
    with models.load(system.bundle, device="cpu") as predictor:
        found = predictor.predict(*system.clips)
        difference = np.abs(np.stack([each.scores for each in found]) - system.scores.values).max()
    print(f"{family:20} {len(found):3} clips   largest difference {difference:.1e}")
    assert difference <= 1e-5
    assert np.ptp(system.scores.values, axis=0).max() > 1e-4, "clips differ, or nothing is compared"


SERVERS = (
    *("alembic", "sqlalchemy", "psycopg", "celery", "kombu", "redis", "mlflow", "fsspec", "fastapi", "starlette"),
    *("uvicorn", "httpx", "typer", "rich", "jinja2", "pyarrow", "rarfile", "prometheus_client", "yaml"),
)
"""What the service and its command stand on, and a predictor must do without."""
ALONE = """
import json, socket, sys
for name in json.loads(sys.argv[3]):
    sys.modules[name] = None  # an import of it fails
def refuse(*_):
    raise OSError("no network")
socket.socket.connect = refuse
import models
predictor = models.load(sys.argv[1], device="cpu")
print(json.dumps(predictor.predict(sys.argv[2])[0].top()))
"""


def test_two_lines_of_python_need_neither_database_nor_server(trained: Train) -> None:
    system = trained(FAMILIES["TS-LSTM"])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(models.__file__).parents[1])}
    program = [sys.executable, "-c", ALONE, str(system.bundle), str(system.clips[0]), json.dumps(SERVERS)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
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
    main_ends(0, "predict", *clips, "--model", str(system.bundle), "--json")
    found = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose([each["scores"] for each in found], system.scores.values[:2], atol=1e-5)
    assert [len(each["top"]) for each in found] == [5, 5]


def test_what_is_wrong_is_named(trained: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    system, broken, text = trained(FAMILIES["TS-LSTM"]), tmp_path / "broken.zip", tmp_path / "text.avi"
    broken.write_bytes(system.bundle.read_bytes()[:-100])
    main_ends(1, "predict", str(system.clips[0]), "--model", str(broken))
    assert capsys.readouterr().err.startswith(f"twostream: {broken} is damaged")
    text.write_text("no clip")
    with models.load(system.bundle, device="cpu") as predictor:
        for clip, words in ((tmp_path / "none.avi", "none.avi: no such clip"), (text, "text.avi")):
            with pytest.raises(DataError, match=words):
                predictor.predict(system.clips[0], clip)


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
    with models.load(system.bundle, device="cpu") as predictor:
        assert predictor.predict() == []
        first, second = predictor.predict(system.clips[0], system.clips[0])
    assert np.array_equal(first.scores, second.scores)
    assert torch.equal(torch.rand(2), expected)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(DataError, match="no such clip"):
        models.load(system.bundle).predict("none.avi")


AS_MLFLOW = """
import json, sys
import mlflow.pyfunc, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps([column.name for column in model.metadata.get_input_schema()]))
print(model.predict(pandas.DataFrame({"clip": sys.argv[2:]})).to_json(orient="split"))
"""


def test_mlflow_loads_the_same_bundle_with_its_signature(trained: Train, tmp_path: Path) -> None:
    system, folder = trained(FAMILIES["TS-LSTM"]), tmp_path / "model"
    mlflow_model.write(folder, system.bundle)
    root = str(Path(models.__file__).parents[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": root, "HOME": str(tmp_path)}
    program = [sys.executable, "-c", AS_MLFLOW, str(folder), *map(str, system.clips[:2])]
    done = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    columns, frame = map(json.loads, done.stdout.splitlines()[-2:])
    assert (columns, frame["columns"]) == (["clip"], [*system.scores.classes])
    np.testing.assert_allclose(frame["data"], system.scores.values[:2], atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_backbones_and_networks_are_programs_of_torch_export(family: str, trained: Train, tmp_path: Path) -> None:
    system = trained(FAMILIES[family])
    with models.load(system.bundle, device="cpu") as predictor:
        written = predictor.export(tmp_path / "programs", system.clips[0])
        kinds = [stage.kind for stage in predictor.contents.stages if stage.kind in {"extract", "score"}]
    assert [path.stem.partition("-")[0] for path in written] == kinds
    for path in written:
        torch.export.load(path)
