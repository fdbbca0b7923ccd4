"""`docs/extending.md` keeps its word: a metric, a network and a stage kind are added by the files that it names alone.

Each is added to a copy of the sources, and run there by processes that see nothing but the copy.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("api", "cli", "models", "services", "worker")
PAGE = (ROOT / "docs" / "extending.md").read_text()


class Edit(NamedTuple):
    """Some lines of a file in place of others; a new file where there are no others."""

    file: str
    old: str
    new: str


class Toy(NamedTuple):
    """What is added, and a program that uses it and prints JSON."""

    title: str
    edits: tuple[Edit, ...]
    program: str
    printed: object


LAST_SHARE = '        Metric("top5", "Top-5 accuracy", within=5),\n'
RANKED_METRIC = Toy(
    "a metric that is a share of clips by the rank of their label",
    (Edit("services/metrics.py", LAST_SHARE, LAST_SHARE + '        Metric("top2", "Top-2 accuracy", within=2),\n'),),
    """
import json
import numpy as np
from api.app import create_app
from worker.stages.metrics import measure
found = measure(np.array([[.6, .3, .1], [.6, .3, .1]]), np.array([1, 2])).numbers()
board = create_app().openapi()["paths"]["/leaderboard"]["get"]
print(json.dumps([found["top2"], "top2" in json.dumps(board["parameters"])]))
""",
    [0.5, True],
)
MEASURES = "MEASURES: Mapping[str, Callable[[Scored], float]] = {"
METRIC = Toy(
    "any other metric",
    (
        Edit(
            "services/metrics.py",
            LAST_SHARE,
            LAST_SHARE + '        Metric("mean_rank", "Mean rank of the label", unit="", higher_is_better=False),\n',
        ),
        Edit(
            "worker/stages/metrics.py",
            MEASURES,
            MEASURES + '"mean_rank": lambda scored: 1 + float(scored.ranks.mean()), ',
        ),
    ),
    """
import json
import numpy as np
from services.metrics import METRICS
from worker.stages.metrics import measure
found = measure(np.array([[.6, .3, .1], [.6, .3, .1]]), np.array([1, 2])).numbers()
print(json.dumps([found["mean_rank"], METRICS["mean_rank"].merit(2) < METRICS["mean_rank"].merit(1)]))
""",
    [2.5, True],
)
NETWORK = Toy(
    "a network",
    (
        Edit(
            "models/toy.py",
            "",
            """
from torch import Tensor, nn

from models.parts.output import Output


class Toy(nn.Module):
    def __init__(self, *, num_classes: int, feature_dim: int, bias: bool = False) -> None:
        super().__init__()
        self.classifier = nn.Linear(feature_dim, num_classes, bias=bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Output:
        return Output(self.classifier(x[:, 0]))
""",
        ),
        Edit(
            "models/__init__.py",
            "from models.tsn import TSN\n",
            "from models.toy import Toy\nfrom models.tsn import TSN\n",
        ),
        Edit("models/__init__.py", '"tsn": NetworkKind(TSN),', '"tsn": NetworkKind(TSN), "toy": NetworkKind(Toy),'),
        Edit("services/specs/networks.py", "    ConvNet\n    | TSN", "    ConvNet\n    | Toy\n    | TSN"),
        Edit(
            "services/specs/networks.py",
            "class TSN(Network):",
            'class Toy(Network):\n    kind: Literal["toy"] = "toy"\n    bias: bool = False\n\n\nclass TSN(Network):',
        ),
        Edit("pyproject.toml", "    | ts_lstm | tsn | video_lstm", "    | toy | ts_lstm | tsn | video_lstm"),
    ),
    """
import json, subprocess, sys
import torch
import models
from services.planning.plan import plan
from services.specs import ExperimentSpec
from services.stages import IndexParams
spec = ExperimentSpec.model_validate({"name": "toy", "dataset": "motion_shapes", "model": {"kind": "toy", "bias": True},
    "backbone": {"name": "tiny", "finetune": None}, "streams": ["rgb"], "splits": [1], "seeds": [0]})
network = models.build("toy", num_classes=3, feature_shape=(4,), **spec.model.options)
stages = {stage.label for stage in plan(spec, IndexParams(dataset="motion_shapes"))}
contracts = subprocess.run([sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
    capture_output=True)
print(json.dumps([[*network(torch.zeros(2, 5, 4)).logits.shape], "train toy rgb, split 1, seed 0" in stages,
    contracts.returncode]))
""",
    [[2, 3], True, 0],
)
SCORE_RECORD = 'published=("scores.npz", "pictures.npz")),\n'
STAGE = Toy(
    "a stage kind",
    (
        Edit("services/stages.py", 'StageKind = Literal["index", ', 'StageKind = Literal["index", "toy", '),
        Edit(
            "services/stages.py",
            "class FuseParams(Params):",
            "class ToyParams(Params):\n    word: str\n\n\nclass FuseParams(Params):",
        ),
        Edit(
            "services/stages.py",
            SCORE_RECORD,
            SCORE_RECORD + '        "toy": StageTraits(ToyParams, "cpu", "scores", needs_torch=False),\n',
        ),
        Edit("services/planning/plan.py", "    TrainParams,\n)", "    ToyParams,\n    TrainParams,\n)"),
        Edit(
            "services/planning/plan.py",
            "        spec, place = self.spec, Place(split, seed)\n",
            "        spec, place = self.spec, Place(split, seed)\n"
            '        self._add("toy", ToyParams(word=f"split {split}"), (self._index_edge,), f"toy {split}")\n',
        ),
        Edit(
            "worker/stages/toy.py",
            "",
            """
def run(task, params, report):
    (task.output / "toy.txt").write_text(params.word)
    report.progress(1, 1, "words")
    return {"letters": len(params.word)}
""",
        ),
    ),
    """
import json, sys
from pathlib import Path
from services.planning.plan import plan
from services.specs import ExperimentSpec
from services.stages import IndexParams
from worker.contract import Outcome, Task
from worker.rank.run import main
spec = ExperimentSpec.model_validate({"name": "toy", "dataset": "motion_shapes", "model": {"kind": "mean_pooling"},
    "backbone": {"name": "tiny", "finetune": None}, "streams": ["rgb"], "splits": [1], "seeds": [0]})
(stage,) = [stage for stage in plan(spec, IndexParams(dataset="motion_shapes")) if stage.spec.kind == "toy"]
folder = Path("run")
for name in ("output", "state"):
    (folder / name).mkdir(parents=True)
task = Task(key=stage.key, kind="toy", attempt=1, params=stage.spec.params.model_dump(mode="json"), inputs=(),
    output=folder / "output", state=folder / "state", events=folder / "events", result=folder / "result",
    data_root=folder / "data")
(folder / "task.json").write_text(task.model_dump_json())
code = main([str(folder / "task.json")])
outcome = Outcome.model_validate_json((folder / "result").read_bytes())
print(json.dumps([code, outcome.summary, (folder / "output" / "toy.txt").read_text(), "torch" in sys.modules]))
""",
    [0, {"letters": 7}, "split 1", False],
)
TOYS = (RANKED_METRIC, METRIC, NETWORK, STAGE)


def files_of(title: str) -> list[str]:
    """Return the files that the page names for what is added."""
    (row,) = [line.split("|") for line in PAGE.splitlines() if line.startswith(f"| {title} |")]
    files = [name.replace("<name>", "toy") for name in re.findall(r"`([\w/.<>]+)`", row[2])]
    assert int(row[3]) == len(files)
    return files


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the sources."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.title)
def test_the_files_that_the_page_names_are_enough(toy: Toy, copy: Path) -> None:
    assert sorted({edit.file for edit in toy.edits}) == sorted(files_of(toy.title))
    for edit in toy.edits:
        path = copy / edit.file
        text = path.read_text() if edit.old else ""
        assert not edit.old or text.count(edit.old) == 1, f"{edit.file}: {edit.old!r}"
        path.write_text(text.replace(edit.old, edit.new) if edit.old else edit.new)
    run = subprocess.run(
        [sys.executable, "-c", toy.program],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == toy.printed
