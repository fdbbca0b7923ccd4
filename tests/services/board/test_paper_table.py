"""A paper's table is read by indexes alone, and says of classes and categories what the predictions say."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from sqlalchemy import event, select, text

from services import registry
from services.board import paper_table, predictions, results
from services.board.means import Row, Value
from services.datasets.official import CATEGORY_OF
from services.db.engine import Database
from services.db.tables import (
    ExperimentRow,
    ExperimentStageRow,
    ExperimentStreamRow,
    PaperRow,
    ProtocolRow,
    StageRow,
)
from services.papers import figures_of
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
    database: Database, right: dict[str, tuple[bool, ...]], seeds: tuple[int, ...], stream: str = "two-stream"
) -> None:
    """Write an experiment behind two rows, which answers the clips of some classes rightly or not, with each seed."""
    classes = [*sorted(CATEGORY_OF), "HighJump", *(f"Sport{number}" for number in range(49))]
    labels = [classes.index(name) for name, hits in right.items() for _ in hits]
    ranks = [0 if hit else 7 for hits in right.values() for hit in hits]
    with database.transaction() as session:
        registry.add(session, name="ucf101", root="/ucf101", annotations="/lists")
        made = published.experiment(session, "ucf101")
        made.spec = {"splits": [1], "seeds": list(seeds)}
        truth = {"classes": classes, "labels": packed(labels), "clips": "c"}
        rows = [Row(split=1, seeds=len(seeds), values={"top1": Value(0.5)}), Row(split=None, missing_splits=[2, 3])]
        for seed in seeds:
            shown = [rank if seed == 0 else 0 for rank in ranks]  # every other seed is right on all clips
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
            session.add(PaperRow(experiment_id=made.id, system="", **place))


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


def test_a_curve_is_read_off_the_stage_that_localizes(database: Database) -> None:
    answered(database, {"YoYo": (True,)}, seeds=(0,), stream="rgb")
    row = "VideoLSTM and ALSTM, with and without smoothing"
    with database.transaction() as session:
        made = session.scalars(select(ExperimentRow)).one()
        params: dict[str, Any] = {"split": 1}
        session.add(
            StageRow(
                key="k", kind="localize", params=params, label="l", queue="gpu", owner="o", timeout_seconds=1,
                summary={"recall": {"0.2": 0.5}, "map": {"0.2": 0.25}},
            )
        )  # fmt: skip
        session.flush()
        session.add(ExperimentStageRow(experiment_id=made.id, stage_key="k", position=0))
        place = {"paper": "video_lstm", "table_name": "figure-4a", "row": row, "dataset": "ucf101", "part": 0}
        session.add(PaperRow(experiment_id=made.id, system="", **place))
    [line] = values(database, "video_lstm", "figure-4a", row).values()
    assert line.measured is not None
    assert (line.measured.curve, line.measured.value, line.difference) == ({"0.2": 0.5}, None, None)
