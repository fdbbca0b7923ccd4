"""a value a row, protocols by their fields, predictions; how an experiment is measured stands with it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

METRICS = ("top1", "top5", "mean_class")
CROPS = {"center": "centre crop", "stretch": "stretched frame", "five": "5 crops", "ten": "10 crops"}
SEE_BOTH = ("motion_alstm", "video_lstm")
SHORT_SIDE = 256
LINE = re.compile(
    r"(?P<frames>\d+) (?:frames|snippets of (?P<snippet>\d+) frames)(?: at (?P<positions>\d+) positions)?"
    r"(?: of the first (?P<first_seconds>[\d.e+]+) s)?"
    rf", (?P<crops>{'|'.join(CROPS.values())}), (?P<average>probabilities|logits), last epoch"
    r"(?:; frames of stack (?P<margin>\d+)|; flow (?P<method>[\w-]+) \+-(?P<bound>[\d.e+-]+)"
    r"(?: (?P<full>full size)| short side (?P<side>\d+))?(?P<own> own weights)?(?P<minmax> frame min-max)?"
    r"(?: jpeg (?P<jpeg>\d+))?, stack (?P<stack>\d+))?"
)
"""The one line that was a protocol until now, in the words of all versions before."""
TO_VALUES = """
INSERT INTO result_value (result_id, metric, value, merit, spread, lower, upper,
                          dataset, stream, split, revision, protocol)
SELECT id, metric, value, value, CASE metric WHEN 'top1' THEN result.spread END,
       CASE metric WHEN 'top1' THEN result.lower END, CASE metric WHEN 'top1' THEN result.upper END,
       CASE WHEN seed IS NULL THEN dataset END, CASE WHEN seed IS NULL THEN stream END,
       CASE WHEN seed IS NULL THEN board_split END, CASE WHEN seed IS NULL THEN result.revision END,
       CASE WHEN seed IS NULL THEN protocol END
FROM result, LATERAL (VALUES ('top1', top1), ('top5', top5), ('mean_class', mean_class)) AS found (metric, value)
WHERE value IS NOT NULL
"""
FROM_VALUES = """
UPDATE result SET {metric} = found.value{others}
FROM result_value AS found WHERE result_id = result.id AND metric = '{metric}'
"""


def upgrade() -> None:
    """Apply."""
    _create_tables()
    _store_protocols(op.get_bind())
    op.execute("UPDATE result SET protocol = known.digest FROM protocol AS known WHERE known.line = result.protocol")
    op.execute(TO_VALUES)
    op.execute(
        "INSERT INTO experiment_stream (experiment_id, stream, protocol, model)"
        " SELECT DISTINCT ON (experiment_id, stream) experiment_id, stream, protocol, model FROM result"
        " ORDER BY experiment_id, stream, id DESC"
    )
    _store_measurements(op.get_bind())
    for metric in METRICS:
        op.drop_index(f"ix_result_{metric}", table_name="result")
    for column in (*METRICS, "spread", "lower", "upper", "board_split"):
        op.drop_column("result", column)
    op.alter_column("result", "protocol", type_=sa.String(64), existing_nullable=False)
    op.create_foreign_key(op.f("fk_result_protocol"), "result", "protocol", ["protocol"], ["digest"])
    op.add_column("result", sa.Column("prediction", sa.String(64), nullable=True))
    op.create_foreign_key(op.f("fk_result_prediction"), "result", "prediction", ["prediction"], ["digest"])
    _create_indexes()


def downgrade() -> None:
    """Undo; what was said of each clip goes, and so does what no column was for."""
    op.drop_index("ix_result_incomplete", table_name="result")
    op.drop_column("result", "prediction")
    op.drop_constraint("fk_result_protocol", "result")
    op.alter_column("result", "protocol", type_=sa.String(200), existing_nullable=False)
    op.execute("UPDATE result SET protocol = known.line FROM protocol AS known WHERE known.digest = result.protocol")
    for column in (*METRICS, "spread", "lower", "upper"):
        op.add_column("result", sa.Column(column, sa.Double(), nullable=True))
    for metric in METRICS:
        others = ", spread = found.spread, lower = found.lower, upper = found.upper" if metric == "top1" else ""
        op.execute(FROM_VALUES.format(metric=metric, others=others))
    of_split = sa.Computed("COALESCE(split, '0'::smallint)", persisted=True)
    op.add_column("result", sa.Column("board_split", sa.SmallInteger(), of_split, nullable=False))
    for metric in METRICS:
        board = ("dataset", "stream", "board_split", "revision", "protocol")
        best = sa.text(f"{metric} DESC NULLS LAST")
        op.create_index(f"ix_result_{metric}", "result", [*board, best, "id"], postgresql_where=sa.text("seed IS NULL"))
    for table in ("result_value", "experiment_stream", "prediction", "truth", "protocol"):
        op.drop_table(table)


def _create_tables() -> None:
    digest = sa.String(64)
    op.create_table(
        "protocol",
        sa.Column("digest", digest, nullable=False),
        sa.Column("fields", postgresql.JSONB(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_protocol")),
    )
    op.create_table(
        "truth",
        sa.Column("digest", digest, nullable=False),
        sa.Column("classes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("labels", sa.LargeBinary(), nullable=False),
        sa.Column("clips", digest, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_truth")),
    )
    op.create_table(
        "prediction",
        sa.Column("digest", digest, nullable=False),
        sa.Column("truth", digest, nullable=False),
        sa.Column("answers", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["truth"], ["truth.digest"], name=op.f("fk_prediction_truth")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_prediction")),
    )
    op.create_table(
        "experiment_stream",
        sa.Column("experiment_id", sa.String(40), nullable=False),
        sa.Column("stream", sa.String(20), nullable=False),
        sa.Column("protocol", digest, nullable=False),
        sa.Column("model", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name=op.f("fk_experiment_stream_experiment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["protocol"], ["protocol.digest"], name=op.f("fk_experiment_stream_protocol")),
        sa.PrimaryKeyConstraint("experiment_id", "stream", name=op.f("pk_experiment_stream")),
    )
    op.create_table(
        "result_value",
        sa.Column("result_id", sa.BigInteger(), nullable=False),
        sa.Column("metric", sa.String(40), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("merit", sa.Double(), nullable=False),
        sa.Column("spread", sa.Double(), nullable=True),
        sa.Column("lower", sa.Double(), nullable=True),
        sa.Column("upper", sa.Double(), nullable=True),
        sa.Column("dataset", sa.String(100), nullable=True),
        sa.Column("stream", sa.String(20), nullable=True),
        sa.Column("split", sa.SmallInteger(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("protocol", digest, nullable=True),
        sa.PrimaryKeyConstraint("result_id", "metric", name=op.f("pk_result_value")),
    )


def _create_indexes() -> None:
    """Make what is faster to make of rows that are there."""
    name = op.f("fk_result_value_result_id")
    op.create_foreign_key(name, "result_value", "result", ["result_id"], ["id"], ondelete="CASCADE")
    op.create_index(
        "ix_result_incomplete",
        "result",
        ["dataset", "stream", "revision", "protocol", "id"],
        postgresql_where=sa.text("missing_splits <> '{}'"),
    )
    board = ("dataset", "stream", "split", "metric", "revision", "protocol")
    best, ranked = sa.text("merit DESC"), sa.text("dataset IS NOT NULL")
    op.create_index("ix_result_value_board", "result_value", [*board, best, "result_id"], postgresql_where=ranked)


def _store_protocols(connection: sa.Connection) -> None:
    """Give every line under which results stand its fields; one that no version wrote is a field itself."""
    known: dict[str, str] = {}
    for line in connection.scalars(sa.text("SELECT DISTINCT protocol FROM result ORDER BY 1")).all():
        fields = _fields_of_line(line)
        if fields is None or known.setdefault(_digest(fields), line) != line:
            fields = {"line": line}
        _store(connection, fields, line)


def _store_measurements(connection: sa.Connection) -> None:
    """Say of experiments that have no results yet how they are measured, by their spec, as the results would have."""
    found = connection.execute(sa.text("SELECT id, spec FROM experiment WHERE state <> 'succeeded'")).all()
    insert = sa.text(
        "INSERT INTO experiment_stream (experiment_id, stream, protocol, model)"
        " VALUES (:id, :stream, :protocol, :model) ON CONFLICT DO NOTHING"
    )
    for experiment_id, spec in found:
        for stream, model in _streams_of_spec(spec):
            fields = _fields_of_spec(spec, stream)
            protocol = _store(connection, fields, _line(fields))
            values = {"id": experiment_id, "stream": stream, "protocol": protocol, "model": model}
            connection.execute(insert, values)


def _store(connection: sa.Connection, fields: Mapping[str, Any], line: str) -> str:
    """Store a protocol unless it is there, and return its digest."""
    insert = sa.text(
        "INSERT INTO protocol (digest, fields, line) VALUES (:digest, :fields, :line) ON CONFLICT DO NOTHING"
    )
    typed = insert.bindparams(sa.bindparam("fields", type_=postgresql.JSONB()))
    connection.execute(typed, {"digest": _digest(fields), "fields": fields, "line": line})
    return _digest(fields)


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _fields_of_line(line: str) -> dict[str, Any] | None:
    """Return what a line says; None where it is not in the words of any version."""
    found = LINE.fullmatch(line)
    if found is None:
        return None
    said = found.groupdict()
    flow = None
    if said["method"] is not None:
        size = None if said["full"] else int(said["side"] or SHORT_SIDE)
        quantization = "frame_min_max" if said["minmax"] else "linear"
        flow = {"method": said["method"], "own_weights": bool(said["own"]), "bound": float(said["bound"])}
        flow |= {"resize": size, "quantization": quantization, "jpeg_quality": _whole(said["jpeg"])}
        flow["stack"] = int(said["stack"])
    spaced_for = said["stack"] if said["snippet"] is None else None
    return _without_none(
        {
            "frames": int(said["frames"]),
            "snippet": _whole(said["snippet"]),
            "positions": int(said["positions"] or 1),
            "first_seconds": None if said["first_seconds"] is None else float(said["first_seconds"]),
            "crops": next(name for name, words in CROPS.items() if words == said["crops"]),
            "average": said["average"],
            "selection": "last",
            "margin": _whole(said["margin"] or spaced_for),
            "flow": flow,
        }
    )


def _streams_of_spec(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the streams of which an experiment may have results, and the kind of the network of each."""
    streams = spec.get("streams", ["rgb", "flow"])
    rgb = (spec.get("model") or {}).get("kind", "ts_lstm")
    own = ((spec.get("flow_stream") or {}).get("model") or {}).get("kind")
    for stream in streams if len(streams) == 1 else (*streams, "two-stream"):
        yield stream, own if own is not None and stream == "flow" else rgb


def _fields_of_spec(spec: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """Return how a stream of an experiment is measured; what an older spec does not say had one value then."""
    look, flow = spec.get("evaluation", {}), spec.get("flow", {})
    snippet, stack = look.get("snippet"), flow.get("stack", 10)
    first = look.get("first_seconds")
    sees_flow = stream != "rgb" or (spec.get("model") or {}).get("kind") in SEE_BOTH
    return _without_none(
        {
            "frames": look.get("frames", 25),
            "snippet": snippet,
            "positions": look.get("positions", 1),
            "first_seconds": None if first is None else float(first),
            "crops": look.get("crops", "center"),
            "average": look.get("average", "probabilities"),
            "selection": "last",
            "margin": stack if snippet is None else None,
            "flow": {**_flow_of_spec(flow), "stack": stack} if sees_flow else None,
        }
    )


def _flow_of_spec(flow: Mapping[str, Any]) -> dict[str, Any]:
    algorithm, storage = flow.get("algorithm", "tvl1"), flow.get("storage", "stored")
    device = flow.get("device") or ("gpu" if storage == "on_the_fly" else "cpu")
    variants = {"raft": f"raft-{flow.get('raft', 'large')}", "tvl1": "tvl1-gpu" if device == "gpu" else "tvl1"}
    jpeg = flow.get("jpeg_quality", 95) if storage == "stored" and flow.get("codec", "raw") == "jpeg" else None
    return {
        "method": variants.get(algorithm, algorithm),
        "own_weights": algorithm == "raft" and flow.get("weights", "default") != "default",
        "bound": float(flow.get("bound", 20)),
        "resize": flow.get("resize", SHORT_SIDE),
        "quantization": flow.get("quantization", "linear"),
        "jpeg_quality": jpeg,
    }


def _line(fields: Mapping[str, Any]) -> str:
    """Word fields as the version before did."""
    snippet, first, flow = fields.get("snippet"), fields.get("first_seconds"), fields.get("flow")
    line = f"{fields['frames']} frames" if snippet is None else f"{fields['frames']} snippets of {snippet} frames"
    line += f" at {fields['positions']} positions" if fields["positions"] > 1 else ""
    line += "" if first is None else f" of the first {first:g} s"
    line += f", {CROPS[fields['crops']]}, {fields['average']}, last epoch"
    if flow is None:
        return f"{line}; frames of stack {fields['margin']}" if "margin" in fields else line
    line += f"; flow {flow['method']} +-{flow['bound']:g}"
    if flow.get("resize") != SHORT_SIDE:
        line += f" short side {flow['resize']}" if "resize" in flow else " full size"
    line += " own weights" if flow["own_weights"] else ""
    line += " frame min-max" if flow["quantization"] == "frame_min_max" else ""
    line += f" jpeg {flow['jpeg_quality']}" if "jpeg_quality" in flow else ""
    return f"{line}, stack {flow['stack']}"


def _whole(text: str | None) -> int | None:
    return None if text is None else int(text)


def _without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in fields.items() if value is not None}
    return {name: _without_none(value) if isinstance(value, dict) else value for name, value in found.items()}
