"""The files of `experiments/`, each submitted to the API as its own comment says, as a dry run; the small ones run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.spec_file import read_spec

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").glob("*.yaml"))
MADE_BY_OTHERS = {"sweep.yaml"}
"""No experiment: its own tests submit it."""

files = pytest.mark.parametrize(
    "file", [file for file in FILES if file.name not in MADE_BY_OTHERS], ids=lambda f: f.stem
)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of three splits and two classes in UCF101's layout."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "classInd.txt").write_text("1 Walk\n2 Run\n")
    for split in (1, 2, 3):
        for part, groups in (("test", [split]), ("train", [g for g in range(1, 7) if g != split])):
            rows = [f"{name}/v_{name}_g{g:02d}_c01.avi" for name in ("Walk", "Run") for g in groups]
            labels = {"Walk": 1, "Run": 2}
            lines = [row if part == "test" else f"{row} {labels[row.partition('/')[0]]}" for row in rows]
            (folder / f"{part}list{split:02d}.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


@files
def test_the_api_takes_it(file: Path, client: TestClient, lists: Path) -> None:
    body: dict[str, Any] = read_spec(file)
    for name in ("ucf101", "own"):
        register = {"name": name, "root": str(lists / "none"), "annotations": str(lists), "replace": True}
        answer = client.post("/datasets", json=register)
        assert answer.status_code < 300, answer.text
    answer = client.post("/experiments?dry_run=true", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["total"] >= 5
    assert answer.json()["name"] == body["name"]


@files
def test_it_says_how_it_is_used(file: Path) -> None:
    comment = re.match(r"(?:#.*\n)+", file.read_text())
    assert comment is not None
    assert f"twostream submit experiments/{file.name}" in comment[0]


def test_the_readme_names_each_of_them() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [file.name for file in FILES if f"experiments/{file.name}" not in readme] == []
