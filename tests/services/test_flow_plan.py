from typing import Any

import pytest
from pydantic import ValidationError

from services.plan import PlannedStage, plan
from services.protocol import protocol
from services.specs import ExperimentSpec, FlowSpec
from services.stages import IndexParams


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


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"algorithm": "dis", "device": "gpu"}, "got gpu for dis, allowed: cpu"),
        ({"algorithm": "brox", "device": "cpu"}, "got cpu for brox, allowed: gpu"),
        ({"storage": "on_the_fly", "device": "cpu"}, "got on_the_fly with flow.device cpu, allowed: gpu"),
        ({"storage": "on_the_fly", "algorithm": "farneback"}, "got gpu for farneback, allowed: cpu"),
        ({"algorithm": "flownet"}, "algorithm"),
        ({"jpeg_quality": 0}, "jpeg_quality"),
    ],
)
def test_impossible_flow_is_refused(flow: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FlowSpec.model_validate(flow)


def test_the_protocol_names_what_changes_the_numbers() -> None:
    flows = [
        {},
        {"codec": "png"},
        {"device": "gpu"},
        {"codec": "jpeg"},
        {"algorithm": "raft"},
        {"storage": "on_the_fly"},
    ]
    flows.append({"quantization": "frame_min_max"})
    lines = [protocol(ExperimentSpec.model_validate({"dataset": "d", "flow": flow}), "flow") for flow in flows]
    assert [line.partition("; ")[2] for line in lines] == [
        "flow tvl1 +-20, stack 10", "flow tvl1 +-20, stack 10", "flow tvl1-gpu +-20, stack 10",
        "flow tvl1 +-20 jpeg 95, stack 10", "flow raft-large +-20, stack 10", "flow tvl1-gpu +-20, stack 10",
        "flow tvl1 +-20 frame min-max, stack 10",
    ]  # fmt: skip
