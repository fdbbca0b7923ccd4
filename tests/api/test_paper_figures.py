"""`GET /papers/{paper}/figures/...`: drawn from the experiments behind a paper's rows, or what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.db.engine import Database
from services.db.tables import ExperimentStageRow, PaperRow, StageRow
from services.figures import papers as paper_figures
from services.figures.papers import FIGURES
from services.papers import PAPERS, figures_of
from services.settings import Settings
from services.stores.artifacts import open_store
from tests.services.packed import answered
from tests.services.pictured import CLIPS, Leaver

CLASSES = [f"Class{number:02d}" for number in range(12)]
LABELS = [label for label in range(12) for _ in range(2)]
TWO_STREAMS = {"streams": ["rgb", "flow"], "model": {"kind": "mean_pooling"}}


def test_every_figure_stands_on_rows_that_the_paper_measured() -> None:
    for paper, found in FIGURES.items():
        for figure in found:
            for row in figure.rows:
                there = [each for each in figures_of(paper, row.table) if each.row == row.row]
                assert any(each.own and each.dataset == figure.column_of for each in there), (figure.name, row)
    assert set(FIGURES) <= set(PAPERS)


def behind(database: Database, experiment_id: str, paper: str, table: str, row: str, dataset: str = "ucf101") -> None:
    place = {"paper": paper, "table_name": table, "row": row, "dataset": dataset, "part": 0, "system": experiment_id}
    with database.transaction() as session:
        session.add(PaperRow(experiment_id=experiment_id, reduced=True, **place))


@pytest.fixture
def measure(submit: Any, worker: Any) -> Any:
    """Run an experiment of two streams that gets the first ``right`` classes right; return its id."""

    def run(name: str, seed: int, right: int) -> str:
        made = submit(name=name, seeds=[seed], **TWO_STREAMS)
        ends = worker()
        said = [label if label < right else (label + 1) % 12 for label in LABELS]

        def summary(claim: Any) -> dict[str, Any]:
            entries = ends.results(claim)
            each = [answered({**entry}, CLASSES, LABELS, said) for entry in entries]
            return {"results": [one["results"][0] for one in each], "truth": each[0]["truth"]}

        ends.summary_of = summary
        ends.finish_all()
        return str(made["id"])

    return run


def test_gains_are_drawn_once_both_rows_are_measured(client: TestClient, database: Database, measure: Any) -> None:
    address = "/papers/relational_lstm/figures/figure-3.svg"
    missing = client.get(address)
    assert missing.status_code == 409
    for words in ("row 'Two-branch' of table 3", "row 'TSN' of table 1", "twostream papers launch relational_lstm 3"):
        assert words in missing.json()["detail"]
    behind(database, measure("two-branch", 0, 11), "relational_lstm", "3", "Two-branch")
    assert "row 'Two-branch'" not in client.get(address).json()["detail"]
    behind(database, measure("tsn", 1, 4), "relational_lstm", "1", "TSN")
    drawn = client.get(address)
    assert drawn.status_code == 200, drawn.text
    assert drawn.headers["Content-Type"].startswith("image/svg+xml")
    again = client.get(address, headers={"If-None-Match": drawn.headers["ETag"]})
    assert again.status_code == 304
    assert client.get(address.replace(".svg", ".png")).content.startswith(b"\x89PNG")
    with database.transaction() as session:
        bars = paper_figures.prepared(session, "relational_lstm", "figure-3")
    assert len(bars.classes) == 10, "those with the largest gain"
    assert bars.values[:7] == (100.0,) * 7
    assert "(on motion_shapes)" in bars.title


def test_curves_are_drawn_from_what_localize_stages_measured(
    client: TestClient, submit: Any, worker: Any, database: Database
) -> None:
    address = "/papers/video_lstm/figures/figure-4b.svg"
    assert client.get(address).status_code == 409
    experiment_id = submit()["id"]
    worker().finish_all()
    behind(database, experiment_id, "video_lstm", "figure-4b", "VideoLSTM with smoothing")
    assert client.get(address).status_code == 409, "there is no curve yet"
    params = {"split": 1, "streams": ["rgb", "flow"], "model": {"kind": "video_lstm"}}
    stage = StageRow(key="1" * 64, kind="localize", params=params, label="localize", queue="gpu", state="succeeded")
    stage.owner, stage.timeout_seconds, stage.summary = "local", 1.0, {"map": {"0.5": 0.25, "0.1": 0.75}}
    with database.transaction() as session:
        session.add(stage)
        session.flush()
        session.add(ExperimentStageRow(experiment_id=experiment_id, stage_key=stage.key, position=9))
    drawn = client.get(address)
    assert drawn.status_code == 200, drawn.text
    assert client.get(address).content == drawn.content


@pytest.fixture
def pictured(submit: Any, settings: Settings, database: Database, tmp_path: Path) -> Any:
    """Run an experiment whose stages leave what pictures are drawn from; return its id."""

    def run(**changes: Any) -> str:
        made = str(submit(**changes)["id"])
        Leaver(database, open_store(settings), tmp_path / made).run_all()
        return made

    return run


@pytest.mark.parametrize(
    ("paper", "figure", "table", "row", "dataset", "kind"),
    [
        ("ts_lstm", "figure-8-two-stream", "6", "ResNet-101", "ucf101", "ts_lstm"),
        ("ts_lstm", "figure-8-ts-lstm", "5", "TS-LSTM", "ucf101", "ts_lstm"),
        ("ts_lstm", "figure-8-temporal-inception", "5", "Temporal-Inception", "ucf101", "ts_lstm"),
        ("matdl", "figure-3", "3", "Ours(ResNet+TSN)", "hmdb51", "memory"),
    ],
)
def test_pictures_are_of_the_experiment_behind_a_row(
    client: TestClient, database: Database, pictured: Any, paper: str, figure: str, table: str, row: str,
    dataset: str, kind: str,
) -> None:  # fmt: skip
    [listed] = [each for each in client.get(f"/papers/{paper}/figures").json()["items"] if each["name"] == figure]
    missing = client.get(listed["svg"])
    assert (missing.status_code, f"row {row!r} of table {table}" in missing.json()["detail"]) == (409, True)
    # Two streams that one network sees give all the streams that the rows ask for.
    two = {"streams": ["rgb", "flow"], "splits": [1, 2, 3], "fusion": {"method": "probabilities"}}
    made = pictured(model={"kind": kind}, **two)
    behind(database, made, paper, table, row, dataset)
    drawn = client.get(listed["svg"])
    assert (drawn.status_code, drawn.headers["Content-Type"]) == (200, "image/svg+xml"), drawn.text
    assert client.get(listed["png"]).content.startswith(b"\x89PNG")
    assert client.get(listed["svg"]).content == drawn.content
    one = client.get(listed["svg"], params={"clip": CLIPS[1]})
    if kind == "memory":
        assert (one.status_code, one.content != drawn.content) == (200, True), one.text
        wrong = client.get(listed["svg"], params={"clip": "nope"})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "clip")
    else:
        assert (one.status_code, one.json()["errors"][0]["field"]) == (422, "clip")


def test_what_a_paper_does_not_have_is_named(client: TestClient) -> None:
    listed = client.get("/papers/video_lstm/figures").json()["items"]
    assert [figure["name"] for figure in listed] == ["figure-4a", "figure-4b"]
    assert [figure["name"] for figure in client.get("/papers/matdl/figures").json()["items"]] == ["figure-3"]
    wrong = client.get("/papers/video_lstm/figures/figure-4.png")
    assert (wrong.status_code, "figure-4a" in wrong.json()["detail"]) == (404, True)
    assert client.get("/papers/matdl/figures/figure-4.png").status_code == 404
    near = client.get("/papers/relational/figures/figure-3.png")
    assert (near.status_code, "relational_lstm" in near.json()["detail"]) == (404, True)
