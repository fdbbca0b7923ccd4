"""A paper's table is read by indexes alone, and says of classes and categories what the predictions say."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from sqlalchemy import delete, event, text

from services import registry
from services.board import paper_table, predictions, results
from services.board.means import Row, Value
from services.datasets.official import CATEGORY_OF
from services.db.engine import Database
from services.db.tables import (
    ExperimentStageRow,
    ExperimentStreamRow,
    PaperRow,
    ProtocolRow,
    StageRow,
)
from services.errors import InvalidRequest, NotFound
from services.figures import paper_curves, render
from services.metrics import MEAN_IOU
from services.papers import PAPERS, figures_of, named_table
from services.revisions import Revision
from services.statistics.intervals import wilson
from tests import published
from tests.services.board.test_leaderboard_plans import nodes

EXPERIMENTS = 2000
LARGE = {"result", "result_value", "experiment", "paper_row", "prediction"}
FILL = f"""
SET LOCAL session_replication_role = replica;
INSERT INTO protocol (digest, fields, line) VALUES ('p', '{{}}', 'line');
INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)
SELECT 'exp_' || lpad(n::text, 9, '0'), 'x', 'o', 'ucf101', '{{"splits": [1], "seeds": [0]}}', 'succeeded', ''
FROM generate_series(1, {EXPERIMENTS}) AS n;
INSERT INTO result (experiment_id, dataset, stream, split, seed, protocol, model, name)
SELECT id, 'ucf101', stream, nullif(split, 0), nullif(seed, 1), 'p', 'm', 'x'
FROM experiment, unnest(ARRAY['rgb', 'flow', 'two-stream']) AS stream, generate_series(0, 1) AS split,
     generate_series(0, 1) AS seed
WHERE split > 0 OR seed = 1;
INSERT INTO result_value (result_id, metric, value, merit, lower, upper)
SELECT id, metric, 0.9, 0.9, 0.89, 0.91 FROM result, unnest(ARRAY['top1', 'top5', 'mean_class']) AS metric
"""


@pytest.fixture
def filled(database: Database) -> Database:
    """Thousands of results, of which each row of Table 7 has a share; what refers to what is not checked."""
    rows = list(dict.fromkeys(figure.row for figure in figures_of("ts_lstm", "7")))
    with database.transaction() as session:
        for statement in FILL.split(";\n"):
            session.execute(text(statement))
        session.execute(
            text("""
            INSERT INTO paper_row (experiment_id, paper, table_name, row, dataset, part, system)
            SELECT id, 'ts_lstm', '7', (CAST(:rows AS text[]))[1 + row_number() OVER (ORDER BY id) % :count],
                   'ucf101', 0, ''
            FROM experiment
            """),
            {"rows": rows, "count": len(rows)},
        )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return database


def test_a_table_is_read_by_indexes_alone(filled: Database) -> None:
    asked: list[tuple[str, Any]] = []
    event.listen(filled.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    with filled.transaction() as session:
        lines = paper_table.filled(session, "ts_lstm", "7")
    assert {line.measured is not None for line in lines} == {True}
    assert {len(line.experiments) for line in lines} == {paper_table.NEWEST}
    found = []
    with filled.engine.connect() as connection:
        for query, values in [each for each in asked if each[0].lstrip().startswith("SELECT")]:
            (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}", values).scalar_one()
            found += nodes(plan["Plan"])
    assert {node["Relation Name"] for node in found if node["Node Type"].endswith("Seq Scan")} & LARGE == set()
    assert "ix_paper_row_place" in {node.get("Index Name") for node in found}


def answered(
    database: Database,
    right: dict[str, tuple[bool, ...]],
    seeds: tuple[int, ...],
    stream: str = "two-stream",
    system: str = "",
) -> str:
    """Write an experiment behind two rows, which answers the clips of some classes rightly or not, with each seed.

    Every seed but 0 is right on all clips.
    """
    classes = [*sorted(CATEGORY_OF), "HighJump", *(f"Sport{number}" for number in range(49))]
    labels = [classes.index(name) for name, hits in right.items() for _ in hits]
    ranks = [0 if hit else 7 for hits in right.values() for hit in hits]
    with database.transaction() as session:
        if registry.find(session, "ucf101") is None:
            registry.add(session, name="ucf101", root="/ucf101", annotations="/lists")
        made = published.experiment(session, "ucf101")
        made.spec = {"splits": [1], "seeds": list(seeds)}
        truth = {"classes": classes, "labels": packed(labels), "clips": "c"}
        rows = [Row(split=1, seeds=len(seeds), values={"top1": Value(0.5)}), Row(split=None, missing_splits=[2, 3])]
        for seed in seeds:
            shown = [rank if seed == 0 else 0 for rank in ranks]
            pairs = [number for pair in zip(labels, shown, strict=True) for number in pair]
            kept = predictions.keep(session, {"truth": truth, "results": [{"predictions": packed(pairs)}]})
            digest = kept["results"][0]["predictions"]
            rows.append(Row(split=1, seed=seed, values={"top1": Value(0.5)}, prediction=digest))
        session.merge(ProtocolRow(digest="p", fields={}, line="line"))
        session.flush()
        measurement = ExperimentStreamRow(experiment_id=made.id, stream=stream, protocol="p", model="m")
        session.add(measurement)
        session.flush()
        results.write(session, made, measurement, Revision(1, (1, 2, 3), 0, ()), rows)
        for paper, table, row in (("matdl", "1", "Ours(VGG)"), ("ts_lstm", "text", "TS-LSTM by class")):
            place = {"paper": paper, "table_name": table, "row": row, "dataset": "ucf101", "part": 0}
            session.add(PaperRow(experiment_id=made.id, system=system, **place))
        return made.id


def packed(numbers: list[int]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}H", *numbers)).decode()


def values(database: Database, paper: str, table: str, row: str) -> dict[str, paper_table.Line]:
    with database.transaction() as session:
        lines = paper_table.filled(session, paper, table)
    return {line.figure.column: line for line in lines if line.figure.row == row}


def test_classes_and_categories_are_counted_over_their_clips(database: Database) -> None:
    hits = {"HighJump": (True, True, True, False), "YoYo": (True, False), "PizzaTossing": (True, False, False)}
    answered(database, hits, seeds=(0,))
    of_class = values(database, "ts_lstm", "text", "TS-LSTM by class")
    assert {name: line.measured and line.measured.value for name, line in of_class.items()} == {
        "HighJump": Value(0.75, None, *wilson(0.75, 4)),
        "PizzaTossing": Value(1 / 3, None, *wilson(1 / 3, 3)),
    }
    of_category = values(database, "matdl", "1", "Ours(VGG)")
    found = of_category["Human-Object Interaction"].measured
    assert found is not None
    assert found.value == Value(2 / 5, None, *wilson(2 / 5, 5))
    assert of_category["Human-Human Interaction"].measured is None
    lacks = of_category["Human-Human Interaction"].missing
    assert lacks is not None
    assert lacks.endswith("has no category of Human-Human Interaction")


def test_a_class_has_a_deviation_over_seeds_and_a_difference_to_the_corrected_print(database: Database) -> None:
    answered(database, {"PizzaTossing": (True, False)}, seeds=(0, 1, 2))
    line = values(database, "matdl", "1", "Ours(VGG)")["Pizza Tossing"]
    assert line.measured is not None
    value = line.measured.value
    assert value is not None
    assert (value.value, value.spread) == (pytest.approx(2.5 / 3), pytest.approx((1 / 12) ** 0.5))  # of 0.5, 1 and 1
    assert line.difference is not None
    assert line.difference.value == pytest.approx(100 * 2.5 / 3 - 54.5)  # printed 54.6, corrected 54.5


CURVES = ("VideoLSTM with smoothing", "VideoLSTM", "ALSTM with smoothing", "ALSTM")
DRAWN = "VideoLSTM and ALSTM, with and without smoothing"


def drawn(database: Database, part: int, found: dict[int, float]) -> None:
    """Write an experiment behind a part of Figure 4a, which found a share of tubes with each seed."""
    made = answered(database, {"YoYo": (True,)}, seeds=tuple(found), stream="rgb")
    with database.transaction() as session:
        session.execute(delete(PaperRow).where(PaperRow.experiment_id == made))
        for position, (seed, share) in enumerate(found.items()):
            params: dict[str, Any] = {"split": 1, "seed": seed, "streams": ["rgb"], "model": {"kind": "alstm"}}
            summary = {"recall": {"0.2": share}, "map": {"0.2": 0.25, MEAN_IOU: 0.1}}
            key = f"{made}{seed}"
            row = {"key": key, "kind": "localize", "params": params, "label": "l", "queue": "gpu", "owner": "o"}
            session.add(StageRow(**row, timeout_seconds=1, summary=summary))
            session.flush()
            session.add(ExperimentStageRow(experiment_id=made, stage_key=key, position=position))
        place = {"paper": "video_lstm", "table_name": "figure-4a", "row": DRAWN, "dataset": "ucf101", "part": part}
        session.add(PaperRow(experiment_id=made, system="", **place))


def test_curves_are_read_off_the_stages_that_localize(database: Database) -> None:
    drawn(database, 0, {0: 0.5, 1: 0.7})
    [line] = values(database, "video_lstm", "figure-4a", DRAWN).values()
    assert line.measured is not None
    assert (line.measured.curve, line.measured.value) == ({"0.2": pytest.approx(0.6)}, None)
    assert line.difference is None
    assert [curve.name for curve in line.curves] == list(CURVES)
    assert [curve.measured is not None for curve in line.curves] == [True, False, False, False]
    assert line.missing == "without the curves of VideoLSTM, ALSTM with smoothing, ALSTM"
    for part in (1, 2, 3):
        drawn(database, part, {0: part / 10})
    [line] = values(database, "video_lstm", "figure-4a", DRAWN).values()
    assert [curve.measured and curve.measured.curve["0.2"] for curve in line.curves] == [
        pytest.approx(0.6), 0.1, 0.2, 0.3,
    ]  # fmt: skip
    assert line.missing is None
    with database.transaction() as session:
        paper, table = PAPERS["video_lstm"], named_table(PAPERS["video_lstm"], "figure-4a")
        whole = paper_curves.prepared(session, paper, table, None)
        some = paper_curves.prepared(session, paper, table, ["ALSTM"])
        with pytest.raises(InvalidRequest, match="curves: got 'LSTM', allowed: VideoLSTM with smoothing, VideoLSTM"):
            paper_curves.prepared(session, paper, table, ["LSTM"])
        with pytest.raises(NotFound, match="its figures are numbers"):
            paper_curves.prepared(session, paper, named_table(paper, "1"), None)
    [(title, curves)] = whole.panels
    assert (title, [curve.name for curve in curves]) == ("Recall", list(CURVES))
    assert [curve.name for curve in some.panels[0][1]] == ["ALSTM"]
    assert render(whole, "svg").startswith(b"<?xml")
    assert render(whole, "svg") != render(some, "svg")


@pytest.mark.parametrize(("system", "seeds"), [("s", (3, 4)), ("other", (3, 4)), ("s", (0, 3))])
def test_seeds_that_were_launched_apart_are_seeds_of_one_system(
    database: Database, system: str, seeds: tuple[int, ...]
) -> None:
    hits = {"HighJump": (True, True, False, False), "PizzaTossing": (True, False)}
    made = {answered(database, hits, seeds=(0,), system="s"), answered(database, hits, seeds=seeds, system=system)}
    found = values(database, "ts_lstm", "text", "TS-LSTM by class")["HighJump"].measured
    assert found is not None
    assert found.value is not None
    if (system, seeds) == ("s", (3, 4)):
        assert (set(found.pooled), found.seeds) == (made, 3)
        assert found.value.value == pytest.approx((0.5 + 1 + 1) / 3)
        assert found.value.spread == pytest.approx((1 / 12) ** 0.5)
    else:
        assert found.pooled == ()
        assert found.seeds in (1, 2)


def test_whatever_was_launched_since_hides_no_number(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reduced form, a member of an ensemble, or the same system that failed."""
    monkeypatch.setattr(paper_table, "NEWEST", 1)
    made = answered(database, {"HighJump": (True, False)}, seeds=(0,), system="whole")
    since = (("whole", 0, "cancelled"), ("whole", 0, "failed"), ("member", -1, "succeeded"), ("reduced", 0, "queued"))
    with database.transaction() as session:
        for number, (system, part, state) in enumerate(since):
            newer = published.experiment(session, "ucf101")
            newer.id, newer.state = f"exp_{'f' * 12}{number}", state
            session.flush()
            place = {"paper": "ts_lstm", "table_name": "text", "row": "TS-LSTM by class", "dataset": "ucf101"}
            link = PaperRow(experiment_id=newer.id, system=system, part=part, reduced=system == "reduced", **place)
            session.add(link)
    line = values(database, "ts_lstm", "text", "TS-LSTM by class")["HighJump"]
    assert line.measured is not None
    assert (line.measured.behind.experiment_id, line.missing) == (made, None)
    assert [(each.system, each.state) for each in line.experiments] == [
        ("reduced", "queued"), ("member", "succeeded"), ("whole", "failed"), ("whole", "succeeded"),
    ]  # fmt: skip


def test_a_column_says_how_its_own_experiment_stands_and_not_that_of_another_column(database: Database) -> None:
    row = "TSN + R-LSTM"
    with database.transaction() as session:
        registry.add(session, name="ucf101", root="/ucf101", annotations="/lists")
        for number, state in enumerate(("failed", "succeeded")):
            made = published.experiment(session, "ucf101")
            made.id, made.state = f"exp_{number}", state
            session.flush()
            place = {"paper": "relational_lstm", "table_name": "1", "row": row, "dataset": "ucf101"}
            session.add(PaperRow(experiment_id=made.id, system=state, part=0, **place))
            if state == "succeeded":
                published.publish(session, made, [Row(split=1, values={"top1": Value(0.5)})])
    found = values(database, "relational_lstm", "1", row)
    assert {name: line.missing for name, line in found.items()} == {
        "rgb": None, "flow": "experiment exp_0 is failed", "two-stream": "experiment exp_0 is failed",
    }  # fmt: skip
    with database.transaction() as session:
        session.execute(delete(PaperRow).where(PaperRow.experiment_id == "exp_0"))
    assert values(database, "relational_lstm", "1", row)["flow"].missing == (
        "experiment exp_1 has no results of flow, split 1"
    )
