"""A database of the version before keeps its leaderboards to the last digit, and what trains keeps its protocol."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session

from services.board import leaderboard, results
from services.board.leaderboard import Board
from services.board.protocol import Protocol, measurements
from services.db.migrate import downgrade, upgrade
from services.specs import BackboneSpec, EndToEndSpec, EvaluationSpec, ExperimentSpec, FlowSpec
from tests.services.conftest import small_spec

BEFORE = "0009"
STREAMS, SPLITS, METRICS = ("rgb", "flow", "two-stream"), (None, 1, 2, 3), ("top1", "top5", "mean_class")
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "25 frames, centre crop, probabilities, last epoch; frames of stack 10": ("rgb", {}),
    "25 frames, centre crop, probabilities, last epoch; flow tvl1 +-20, stack 10": ("two-stream", {}),
    "10 frames, centre crop, logits, last epoch; flow tvl1-gpu +-16.5 full size jpeg 95, stack 5": (
        "flow",
        {
            "evaluation": EvaluationSpec(frames=10, average="logits"),
            "flow": FlowSpec(device="gpu", bound=16.5, resize=None, codec="jpeg", stack=5),
        },
    ),
    "3 snippets of 30 frames of the first 10 s, stretched frame, probabilities, last epoch": (
        "rgb",
        {"evaluation": EvaluationSpec(frames=3, snippet=30, first_seconds=10, crops="stretch")},
    ),
    "3 snippets of 30 frames, centre crop, probabilities, last epoch; flow farneback +-20, stack 10": (
        "two-stream",
        {"evaluation": EvaluationSpec(frames=3, snippet=30), "flow": FlowSpec(algorithm="farneback")},
    ),
    "8 frames at 4 positions, 5 crops, logits, last epoch; flow raft-small +-20 short side 128 own weights"
    " frame min-max, stack 10": (
        "flow",
        {
            "model": {"kind": "tsn"},
            "backbone": BackboneSpec(name="tiny", end_to_end=EndToEndSpec()),
            "evaluation": EvaluationSpec(frames=8, positions=4, crops="five", average="logits"),
            "flow": FlowSpec(algorithm="raft", raft="small", weights="/w.pt", resize=128, quantization="frame_min_max"),
        },
    ),
}
"""What the version before wrote, and what was measured so."""
OLDER = "25 frames, centre crop, probabilities, last epoch"
"""Of the first version, which did not say for which stack frames of rgb were spaced."""
FOREIGN = "as nobody ever wrote it"

COLUMNS = (
    "experiment_id, dataset, revision, stream, split, seed, protocol, model, name, top1, top5, mean_class, clips,"
    " excluded, spread, lower, upper, seeds, missing_splits, categories"
)


@pytest.fixture
def engine(empty_database: Callable[[], str]) -> Iterator[Engine]:
    """A database with the tables of the version before."""
    url = empty_database()
    upgrade(url, BEFORE)
    engine = create_engine(url)
    yield engine
    engine.dispose()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def add_experiment(connection: Connection, name: str, spec: Any = None, state: str = "succeeded") -> None:
    query = "INSERT INTO experiment (id, name, owner, dataset, spec, state, body_digest)"
    values = {"id": name, "spec": json.dumps(spec or {}), "state": state}
    connection.execute(text(f"{query} VALUES (:id, :id, 'o', 'd', CAST(:spec AS jsonb), :state, '')"), values)


def add_result(connection: Connection, **values: Any) -> None:
    columns = {"dataset": "d", "model": "m", "name": values["experiment_id"], **values}
    names = ", ".join(columns)
    connection.execute(
        text(f"INSERT INTO result ({names}) VALUES ({', '.join(f':{name}' for name in columns)})"), columns
    )


def fill(connection: Connection) -> None:
    """Write results of all kinds: equal values, seeds, means that lack a split, several protocols and revisions."""
    draw = random.Random(0)
    connection.execute(text("INSERT INTO dataset (name, revision) VALUES ('d', 2)"))
    protocols = [*LINES, OLDER, FOREIGN]
    for number in range(24):
        name, protocol = f"exp_{number:02d}", draw.choice(protocols)
        add_experiment(connection, name)
        lacks = number % 5 == 0
        shared = {"experiment_id": name, "protocol": protocol, "revision": 1 + number % 2, "excluded": number % 3}
        for stream, split in product(STREAMS, (1, 2) if lacks else (1, 2, 3)):
            for seed in (0, 1, None):
                add_result(connection, **shared, stream=stream, split=split, seed=seed, **drawn(draw))
        for stream in STREAMS:
            missing = {"missing_splits": [3], "seeds": 2} if lacks else {**drawn(draw), "seeds": 2}
            add_result(connection, **shared, stream=stream, **missing)


def drawn(draw: random.Random) -> dict[str, Any]:
    """Numbers of which some are equal, and whose last digits matter."""
    rates = {name: draw.choice([draw.random(), 1 / 3, 0.5]) for name in METRICS}
    return {
        **rates,
        "clips": draw.choice([None, 3783]),
        "spread": draw.choice([None, draw.random() / 7]),
        "lower": rates["top1"] * draw.random(),
        "upper": 1.0,
        "categories": draw.choice([None, '{"Sports": 0.5}']),
    }


def rows_before(connection: Connection, **board: Any) -> list[dict[str, Any]]:
    """Return a board's rows as the version before ranked them."""
    query = f"""
        SELECT {COLUMNS}, {board["metric"]} AS value FROM result
        WHERE dataset = 'd' AND seed IS NULL AND stream = :stream AND revision = :revision AND protocol = :protocol
        AND split IS NOT DISTINCT FROM :split ORDER BY {board["metric"]} DESC NULLS LAST, id
    """
    return [dict(row) for row in connection.execute(text(query), board).mappings()]


def expected(rows: list[dict[str, Any]], metric: str) -> list[tuple[Any, ...]]:
    ranked = [row["value"] for row in rows]
    bounds = ("spread", "lower", "upper") if metric == "top1" else ()
    return [
        (
            None if row["value"] is None else 1 + ranked.index(row["value"]),
            *(row[name] for name in ("experiment_id", "name", "model", "value", "seeds", "clips", "excluded")),
            *([row[name] for name in bounds] or (None, None, None)),
            tuple(row["missing_splits"]),
        )
        for row in rows
    ]


def shown(board: Board) -> list[tuple[Any, ...]]:
    return [
        (
            row.rank, row.experiment_id, row.name, row.model, row.value, row.seeds, row.clips, row.excluded,
            row.spread, row.lower, row.upper, row.missing_splits,
        )
        for row in (*board.rows, *board.incomplete)
    ]  # fmt: skip


@pytest.mark.parametrize("metrics", [METRICS[:1], pytest.param(METRICS, marks=pytest.mark.long)], ids=len)
def test_leaderboards_stay_to_the_last_digit(engine: Engine, metrics: tuple[str, ...]) -> None:
    with engine.begin() as connection:
        fill(connection)
        boards = [
            {"stream": stream, "split": split, "metric": metric, "revision": revision, "protocol": protocol}
            for stream, split, metric, revision, protocol in product(
                STREAMS, SPLITS, metrics, (1, 2), [*LINES, OLDER, FOREIGN]
            )
        ]
        before = [rows_before(connection, **board) for board in boards]
        single = "SELECT split, top1 FROM result WHERE experiment_id = :id AND stream = 'rgb' AND seed IS NULL"
        splits = {row.split: row.top1 for row in connection.execute(text(single), {"id": "exp_01"}) if row.split}
    assert sum(map(len, before)) > 160 * len(metrics)
    upgrade(url_of(engine))
    with Session(engine) as session:
        for board, rows in zip(boards, before, strict=True):
            found = leaderboard.rank(session, dataset="d", **board)
            assert shown(found) == expected(rows, board["metric"]), board
            complete = [row for row in rows if row["value"] is not None]
            assert (found.total, found.total_incomplete) == (len(complete), len(rows) - len(complete))
            counts = {
                other["protocol"]: len(others)
                for other, others in zip(boards, before, strict=True)
                if others and {**other, "protocol": board["protocol"]} == board != other
            }
            assert found.other_protocols == counts
            for row in found.rows:
                if (row.experiment_id, board["stream"], board["metric"]) == ("exp_01", "rgb", "top1"):
                    assert row.splits == splits


def test_what_goes_up_comes_down_as_it_was(engine: Engine) -> None:
    query = text(f"SELECT id, {COLUMNS}, board_split FROM result ORDER BY id")
    with engine.begin() as connection:
        fill(connection)
        before = connection.execute(query).all()
    upgrade(url_of(engine))
    downgrade(url_of(engine), BEFORE)
    with engine.begin() as connection:
        assert connection.execute(query).all() == before


def test_what_was_measured_stands_beside_what_is_measured_now(engine: Engine) -> None:
    with engine.begin() as connection:
        for number, line in enumerate((*LINES, OLDER, FOREIGN)):
            add_experiment(connection, f"exp_{number}")
            add_result(connection, experiment_id=f"exp_{number}", stream="rgb", split=1, protocol=line, top1=0.5)
    upgrade(url_of(engine))
    with engine.begin() as connection:
        found = {row.line: row for row in connection.execute(text("SELECT * FROM protocol"))}
        stored = connection.scalar(text("SELECT protocol FROM experiment_stream WHERE experiment_id = 'exp_0'"))
    assert found.keys() == {*LINES, OLDER, FOREIGN}
    for line, (stream, changes) in LINES.items():
        protocol = Protocol.of(small_spec(streams=("rgb", "flow"), **changes), stream)
        assert (found[line].digest, found[line].fields) == (protocol.digest, protocol.fields)
    assert stored == found[next(iter(LINES))].digest
    assert found[OLDER].fields == {
        key: value for key, value in found[next(iter(LINES))].fields.items() if key != "margin"
    }
    assert found[FOREIGN].fields == {"line": FOREIGN}


SPECS: dict[str, ExperimentSpec] = {
    **{
        f"exp_{number}": small_spec(streams=("rgb", "flow"), **changes)
        for number, (_, changes) in enumerate(LINES.values())
    },
    "exp_rgb": small_spec(),
    "exp_flow": small_spec(streams=("flow",), flow=FlowSpec(algorithm="farneback")),
    "exp_both": ExperimentSpec.model_validate(
        {"dataset": "d", "model": {"kind": "video_lstm"}, "backbone": {"name": "vgg16"}}
    ),
    "exp_own": small_spec(streams=("rgb", "flow"), flow_stream={"model": {"kind": "max_pooling"}}),
    "exp_computed": small_spec(streams=("rgb", "flow"), flow=FlowSpec(storage="on_the_fly", codec="jpeg")),
}


def test_what_trains_is_measured_as_its_spec_says(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO dataset (name) VALUES ('d')"))
        for name, spec in SPECS.items():
            add_experiment(connection, name, spec.model_dump(mode="json"), state="running")
        add_experiment(connection, "exp_short", {"dataset": "d"}, state="failed")
    upgrade(url_of(engine))
    query = """
        SELECT stream, digest, line, model FROM experiment_stream JOIN protocol ON digest = protocol
        WHERE experiment_id = :id ORDER BY stream
    """
    with engine.begin() as connection:
        for name, spec in {**SPECS, "exp_short": ExperimentSpec(dataset="d")}.items():
            found = [tuple(row) for row in connection.execute(text(query), {"id": name})]
            wanted = [
                (entry.stream, entry.protocol.digest, entry.protocol.line, entry.model)
                for entry in sorted(measurements(spec))
            ]
            if name == "exp_both":  # it goes on as it was planned: flow steers it, and what it says went by both
                wanted = [(stream, *what) for stream in ("flow", "rgb", "two-stream") for _, *what in wanted]
            assert found == wanted, name
    with Session(engine) as session:
        assert results.listing(session, "exp_rgb") == []


def test_a_finished_network_of_rgb_that_flow_steers_is_filed_as_rgb(engine: Engine) -> None:
    line = "25 frames, centre crop, probabilities, last epoch; flow tvl1 +-20, stack 10"
    spec = SPECS["exp_both"].model_dump(mode="json")
    beside = spec | {"flow_stream": {"model": {"kind": "lstm"}}}
    specs = {"exp_alone": spec, "exp_beside": beside, "exp_other": SPECS["exp_own"].model_dump(mode="json")}
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO dataset (name) VALUES ('d')"))
        for name, said in specs.items():
            add_experiment(connection, name, said)
            add_result(connection, experiment_id=name, stream="two-stream", split=1, protocol=line, top1=0.5)
    upgrade(url_of(engine))
    query = """
        SELECT experiment_id, result.stream, result_value.stream, array_agg(experiment_stream.stream)
        FROM result JOIN result_value ON result_id = result.id JOIN experiment_stream USING (experiment_id)
        GROUP BY 1, 2, 3
    """
    with engine.begin() as connection:
        found = {name: (stream, board, filed) for name, stream, board, filed in connection.execute(text(query))}
    both = ("two-stream", "two-stream", ["two-stream"])
    assert found == {"exp_alone": ("rgb", "rgb", ["rgb"]), "exp_beside": both, "exp_other": both}
