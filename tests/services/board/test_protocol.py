"""Protocols are known by what they say, not by how they say it, and are stored when an experiment is submitted."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.board import leaderboard, results
from services.board.protocol import Protocol, measurements
from services.db.engine import Database
from services.db.tables import ExperimentStreamRow, ProtocolRow
from services.specs import (
    BackboneSpec,
    EndToEndSpec,
    EvaluationSpec,
    ExperimentSpec,
    FinetuneSpec,
    FlowSpec,
    FlowStreamSpec,
    TrainingSpec,
)
from tests.services.conftest import Decreed, small_spec, submit

BOTH: dict[str, Any] = {"streams": ("rgb", "flow")}
DIFFERENCES: dict[str, dict[str, Any]] = {
    "frames": {"evaluation": EvaluationSpec(frames=10)},
    "snippets": {"evaluation": EvaluationSpec(snippet=30)},
    "longer snippets": {"evaluation": EvaluationSpec(snippet=31)},
    "whole steps": {"evaluation": EvaluationSpec(spacing="whole_step")},
    "the beginning": {"evaluation": EvaluationSpec(first_seconds=10)},
    "a little more of it": {"evaluation": EvaluationSpec(first_seconds=10.0000001)},
    "the frame": {"evaluation": EvaluationSpec(crops="stretch")},
    "logits": {"evaluation": EvaluationSpec(average="logits")},
    "held-out clips": {"training": TrainingSpec(selection="validation")},
    "the test list": {"training": TrainingSpec(selection="test")},
    "stack": {"flow": FlowSpec(stack=5)},
    "method": {"flow": FlowSpec(device="gpu")},
    "network for flow": {"flow": FlowSpec(algorithm="raft")},
    "a smaller one": {"flow": FlowSpec(algorithm="raft", raft="small")},
    "its weights": {"flow": FlowSpec(algorithm="raft", weights="/w.pt")},
    "bound": {"flow": FlowSpec(bound=16)},
    "full size": {"flow": FlowSpec(resize=None)},
    "smaller": {"flow": FlowSpec(resize=128)},
    "range of each field": {"flow": FlowSpec(quantization="frame_min_max")},
    "packed with loss": {"flow": FlowSpec(codec="jpeg")},
    "its own classifier": {
        "model": {"kind": "convnet", "classifier": "finetuned"},
        "backbone": BackboneSpec(name="tiny"),
        "fusion": {"method": "probabilities"},
    },
    "packed with more loss": {"flow": FlowSpec(codec="jpeg", jpeg_quality=50)},
}
ALIKE: tuple[dict[str, Any], ...] = (
    {"flow": FlowSpec(codec="png", shards=7)},
    {"flow": FlowSpec(device="cpu", jpeg_quality=50)},
    {"seeds": (3,), "name": "other", "model": {"kind": "mean_pooling"}},
    {"fusion": {"method": "product", "rgb": 2.0}},
)


def of(changes: dict[str, Any]) -> Protocol:
    return Protocol.of(small_spec(**BOTH | changes), "two-stream")


def test_what_changes_a_number_changes_digest_and_line() -> None:
    protocols = [of({}), *map(of, DIFFERENCES.values())]
    assert len({protocol.digest for protocol in protocols}) == len(protocols)
    assert len({protocol.line for protocol in protocols}) == len(protocols)


def test_the_training_that_claims_most_says_how_its_epoch_was_chosen() -> None:
    tuned = BackboneSpec(name="tiny", finetune=FinetuneSpec(selection="test"))
    spec = ExperimentSpec(
        dataset="motion_shapes",
        backbone=BackboneSpec(name="tiny"),
        training=TrainingSpec(selection="validation"),
        flow_stream=FlowStreamSpec(backbone=tuned, training=TrainingSpec()),
    )
    found = {name: Protocol.of(spec, name) for name in ("rgb", "flow", "two-stream")}
    assert {name: protocol.selection for name, protocol in found.items()} == {
        "rgb": "validation", "flow": "test", "two-stream": "test",
    }  # fmt: skip
    assert "best validation epoch" in found["rgb"].line
    assert "best test epoch" in found["flow"].line


@pytest.mark.parametrize("changes", ALIKE)
def test_what_changes_no_number_changes_neither(changes: dict[str, Any]) -> None:
    assert of(changes) == of({})


def test_digests_stay_what_they_are() -> None:
    """Those of this page stand in databases; a field that comes later must not change them."""
    assert of({}).digest == "9ede797f778a9661b1028a8b19b47c6e670e10675f84e7d594f797404ed9cbc3"
    assert Protocol.of(small_spec(), "rgb").digest == "d2dd11d6bc4dfb0b2512081e8b09b28ab0ec7067da91a49a2b20a6e008409cb8"
    assert of({}).fields == {
        "frames": 25,
        "positions": 1,
        "crops": "center",
        "average": "probabilities",
        "selection": "last",
        "margin": 10,
        "flow": {
            "method": "tvl1", "own_weights": False, "bound": 20.0, "resize": 256, "quantization": "linear", "stack": 10,
        },
    }  # fmt: skip


def test_a_field_that_comes_later_says_nothing_of_what_was_measured_before() -> None:
    class Later(Protocol):
        fusion: str | None = None

    before = of({})
    assert Later(**dict(before)).digest == before.digest
    assert Later(**dict(before), fusion="product").digest != before.digest


def test_rgb_alone_says_nothing_of_flow() -> None:
    assert Protocol.of(small_spec(), "rgb").flow is None
    assert Protocol.of(small_spec(flow=FlowSpec(bound=16)), "rgb") == Protocol.of(small_spec(), "rgb")
    both = {"model": {"kind": "video_lstm"}, "backbone": {"name": "vgg16"}}
    assert Protocol.of(ExperimentSpec.model_validate({"dataset": "d", **both}), "rgb").flow is not None


def test_each_stream_has_its_protocol_and_its_network() -> None:
    own = {"flow_stream": {"model": {"kind": "max_pooling"}}, "model": {"kind": "mean_pooling"}}
    found = measurements(small_spec(**BOTH | own))
    assert [(entry.stream, entry.model, entry.protocol.flow is None) for entry in found] == [
        ("rgb", "mean_pooling", True),
        ("flow", "max_pooling", False),
        ("two-stream", "mean_pooling", False),
    ]
    assert [entry.stream for entry in measurements(small_spec(streams=("flow",)))] == ["flow"]


def test_positions_and_crops_are_said() -> None:
    look = EvaluationSpec(frames=8, positions=4, crops="five", average="logits")
    backbone = BackboneSpec(name="tiny", end_to_end=EndToEndSpec())
    protocol = Protocol.of(small_spec(model={"kind": "tsn"}, backbone=backbone, evaluation=look), "rgb")
    assert (protocol.positions, protocol.crops) == (4, "five")


def test_they_are_stored_when_an_experiment_is_submitted(database: Database) -> None:
    first = submit(database, small_spec(**BOTH)).row
    second = submit(database, small_spec(**BOTH, name="second")).row
    with database.transaction() as session:
        stored = {row.digest: row for row in session.scalars(select(ProtocolRow))}
        streams = list(session.scalars(select(ExperimentStreamRow)))
    assert {(row.experiment_id, row.stream) for row in streams} == {
        (row.id, stream) for row in (first, second) for stream in ("rgb", "flow", "two-stream")
    }
    assert len(stored) == 2
    for row in streams:
        protocol = Protocol.of(small_spec(**BOTH), row.stream)
        found = stored[row.protocol]
        assert (found.digest, found.fields, found.line) == (protocol.digest, protocol.fields, protocol.line)


def test_other_words_are_no_other_board(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    submit(database, small_spec())
    Decreed(database).run_all()
    monkeypatch.setattr(Protocol, "line", property(lambda protocol: f"{protocol.frames} frames, in other words"))
    second = submit(database, small_spec(name="second", model={"kind": "mean_pooling"})).row
    Decreed(database).run_all()
    with database.transaction() as session:
        board = leaderboard.rank(session, dataset="motion_shapes", stream="rgb", split=1)
        assert {found.protocol for found in results.listing(session, second.id)} == {board.protocol}
    assert [row.name for row in board.rows] == ["small", "second"]
    assert board.other_protocols == {}
    assert board.protocol == "25 frames, centre crop, probabilities, last epoch; frames of stack 10"
