from typing import Any

import pytest

from services.board.protocol import Protocol
from services.planning.plan import plan
from services.planning.planned import PlannedStage
from services.specs import FLOW_SHORT_SIDE, ExperimentSpec
from services.stages import FlowParams, IndexParams


def planned(**flow: Any) -> tuple[PlannedStage, ...]:
    spec = ExperimentSpec.model_validate({"dataset": "ucf101", "backbone": {"name": "tiny"}, "flow": flow})
    return plan(spec, IndexParams(dataset="ucf101"))


def of_kind(stages: tuple[PlannedStage, ...], kind: str) -> list[PlannedStage]:
    return [stage for stage in stages if stage.spec.kind == kind]


@pytest.mark.parametrize(
    ("flow", "kind", "queue"),
    [
        ({}, "flow", "cpu"),
        ({"algorithm": "dis"}, "flow", "cpu"),
        ({"algorithm": "tvl1", "device": "gpu"}, "gpu_flow", "gpu"),
        ({"algorithm": "brox"}, "gpu_flow", "gpu"),
        ({"algorithm": "raft"}, "gpu_flow", "gpu"),
    ],
)
def test_the_algorithm_chooses_the_queue(flow: dict[str, Any], kind: str, queue: str) -> None:
    stages = [stage for stage in planned(**flow) if stage.spec.kind in {"flow", "gpu_flow"}]
    assert {(stage.spec.kind, stage.spec.queue) for stage in stages} == {(kind, queue)}
    assert len(stages) == 2


def test_on_the_fly_flow_has_no_stage_and_is_in_the_key() -> None:
    stored, computed, wider = planned(), planned(storage="on_the_fly"), planned(storage="on_the_fly", bound=15)
    assert not of_kind(computed, "flow") + of_kind(computed, "gpu_flow")
    for kind in ("finetune", "extract"):
        keys = [{stage.key for stage in of_kind(stages, kind)} for stages in (stored, computed, wider)]
        assert len(set.union(*keys)) == 6 + 3 + 3  # the three of the rgb stream are shared
        assert {stage.spec.params.flow is None for stage in of_kind(stored, kind)} == {True}  # type: ignore[union-attr]


def test_what_an_algorithm_does_not_use_is_not_in_its_key() -> None:
    same = [{}, {"raft": "small", "weights": "/x.pt"}, {"jpeg_quality": 50}, {"stack": 5}]
    assert len({of_kind(planned(**flow), "flow")[0].key for flow in same}) == 1
    other = [{}, {"codec": "png"}, {"codec": "jpeg"}, {"codec": "jpeg", "jpeg_quality": 50}, {"device": "gpu"}]
    other.append({"quantization": "frame_min_max"})
    keys = {stage.key for flow in other for stage in planned(**flow) if stage.spec.kind in {"flow", "gpu_flow"}}
    assert len(keys) == 2 * len(other)


KEYS = {  # of version 0.1.0, whose flow and fine-tuned networks took days
    "flow": "a8ac8754ac721f3bd5ed440370abca34c79e99f763e06b69f6dedeedc98cd0bb",
    "finetune": "c4ed5974accd9f217a35dd314dc9ee784e7fd193eb906d00c6c2b57901d4ae7a",
    "extract": "b086c46c1feb003444886261a95f47d21ba9282ec5273275a62c5429f9fa9bee",
}
ON_THE_FLY = {
    "finetune": "bee0ac675c919699fd948cf8f1049681b60cdca4614f6d8e8ae7eff8f33e67af",
    "extract": "05fbddb497b70d07e31374eaa6c9cd69aa728316c576ffdcae835ed27df7b0ff",
}


@pytest.mark.parametrize(("flow", "keys"), [({}, KEYS), ({"storage": "on_the_fly"}, ON_THE_FLY)])
def test_the_usual_size_of_frames_is_in_no_key(flow: dict[str, Any], keys: dict[str, str]) -> None:
    backbone = {"name": "tiny", "finetune": {}}
    spec = ExperimentSpec.model_validate({"dataset": "ucf101", "splits": [1], "backbone": backbone, "flow": flow})
    found = {stage.key for stage in plan(spec, IndexParams(dataset="ucf101"))}
    assert set(keys.values()) <= found
    for size in (128, None):
        other = spec.model_copy(update={"flow": spec.flow.model_copy(update={"resize": size})})
        assert not set(keys.values()) & {stage.key for stage in plan(other, IndexParams(dataset="ucf101"))}


def test_a_size_survives_a_stages_row() -> None:
    for size in (FLOW_SHORT_SIDE, 128, None):
        params = FlowParams(algorithm="tvl1", bound=20, resize=size, shard=0, shards=1)
        row = params.model_dump(mode="json")
        assert ("resize" in row) == (size != FLOW_SHORT_SIDE)
        assert FlowParams.model_validate(row) == params


def test_the_protocol_names_what_changes_the_numbers() -> None:
    flows = [
        {},
        {"codec": "png"},
        {"device": "gpu"},
        {"codec": "jpeg"},
        {"algorithm": "raft"},
        {"storage": "on_the_fly"},
    ]
    flows += [{"quantization": "frame_min_max"}, {"resize": None}, {"resize": 128}]
    specs = [ExperimentSpec.model_validate({"dataset": "d", "flow": flow}) for flow in flows]
    lines = [Protocol.of(spec, "flow").line for spec in specs]
    assert [line.partition("; ")[2] for line in lines] == [
        "flow tvl1 +-20, stack 10", "flow tvl1 +-20, stack 10", "flow tvl1-gpu +-20, stack 10",
        "flow tvl1 +-20 jpeg 95, stack 10", "flow raft-large +-20, stack 10", "flow tvl1-gpu +-20, stack 10",
        "flow tvl1 +-20 frame min-max, stack 10", "flow tvl1 +-20 full size, stack 10",
        "flow tvl1 +-20 short side 128, stack 10",
    ]  # fmt: skip
