"""The queue played through: when stages start, by hand-made queues."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from services.queue.schedule import Job, Running, Slots, Times, play
from services.settings import Quota
from worker.host.devices import Devices

JOB = Job(key="", queue="cpu", gpus=1, priority=50, owner="o", seconds=10)


def job(key: str, **changes: object) -> Job:
    return replace(JOB, key=key, ready_at=-1.0, **changes)  # type: ignore[arg-type]


def on(jobs: list[Job], running: list[Running] | None = None, **workers: Slots) -> Times:
    return play(jobs, running or [], workers or {"w": Slots.of(["cpu", "gpu"], ["cpu"], 1)})


def starts(times: Times) -> dict[str, float]:
    return {key: start for key, (start, _) in times.items()}


def test_one_slot_takes_one_after_the_other_by_priority_and_age() -> None:
    line = [job("a"), job("b", priority=90), replace(job("c"), ready_at=-5.0)]
    assert starts(on(line)) == {"b": 0, "c": 10, "a": 20}


def test_a_slot_that_is_busy_comes_free_at_the_end_of_what_runs() -> None:
    busy = [Running("r", "w", "cpu", 0, "o", 7)]
    assert on([job("a")], busy) == {"r": (0, 7), "a": (7, 17)}
    assert on([job("a")], [replace(busy[0], seconds=inf)]) == {"r": (0, inf)}  # nobody knows when
    assert starts(on([job("a")], [replace(busy[0], worker="gone")])) == {"r": 0, "a": 0}


def test_a_stage_starts_when_its_inputs_are_there() -> None:
    line = [
        job("a"),
        replace(JOB, key="b", needs=frozenset({"a"})),
        replace(JOB, key="c", needs=frozenset({"nowhere"})),
    ]
    two = Slots.of(["cpu"], ["cpu"], 2)
    assert on(line, w=two) == {"a": (0, 10), "b": (10, 20)}


def test_owners_take_turns() -> None:
    line = [*(replace(job(f"a{place}", owner="a"), ready_at=-9.0) for place in range(3)), job("b", owner="b")]
    assert starts(on(line, w=Slots.of(["cpu"], ["cpu"], 2))) == {"a0": 0, "b": 0, "a1": 10, "a2": 10}


def test_an_owner_at_their_quota_has_nothing_started_before_something_ends() -> None:
    line = [*(replace(job(f"a{place}", owner="a"), ready_at=-9.0) for place in range(3)), job("b", owner="b")]
    four = {"w": Slots.of(["cpu"], ["cpu"], 4)}
    assert starts(play(line, [], four, {"a": Quota(stages=1)})) == {"a0": 0, "b": 0, "a1": 10, "a2": 20}
    busy = [Running("r", "w", "cpu", 0, "a", 7)]
    four = {"w": Slots.of(["cpu"], ["cpu"], 4)}
    assert starts(play(line, busy, four, {"*": Quota(stages=2)})) == {"r": 0, "a0": 0, "b": 0, "a1": 7, "a2": 10}
    four = {"w": Slots.of(["cpu"], ["cpu"], 4)}
    assert starts(play(line, [], four, {"*": Quota(stages=0), "b": Quota(stages=1)})) == {"b": 0}


def test_gpus_of_a_quota_are_those_asked_for_on_a_worker_without_any_too() -> None:
    line = [job(f"g{place}", queue="gpu") for place in range(2)] + [job("c")]
    slots = {"w": Slots.of(["cpu", "gpu"], ["cpu"], 4)}
    busy = [Running("r", "w", "gpu", 0, "o", 7, 1)]
    assert starts(play(line, busy, slots, {"o": Quota(gpus=2)})) == {"r": 0, "g0": 0, "c": 0, "g1": 7}


def test_who_runs_least_by_their_share_is_next() -> None:
    line = [replace(job(f"{owner}{place}", owner=owner), ready_at=-9.0) for owner in "ab" for place in range(4)]
    three = {"w": Slots.of(["cpu"], ["cpu"], 3)}
    found = starts(play(line, [], three, {"b": Quota(share=2)}))
    assert {key for key, start in found.items() if start == 0} == {"a0", "b0", "b1"}


def test_gpus_are_held_and_stages_of_the_cpu_leave_slots_for_them() -> None:
    two = {"w": Slots.of(["cpu", "gpu"], ["cuda:0", "cuda:1"], 3)}
    line = [job(f"g{place}", queue="gpu") for place in range(3)] + [job("big", queue="gpu", gpus=2, priority=10)]
    assert starts(on([*line, job("c1"), job("c2")], **two)) == {
        "g0": 0,
        "g1": 0,
        "c1": 0,
        "g2": 10,
        "c2": 10,
        "big": 20,
    }


def test_what_no_worker_can_run_never_starts() -> None:
    line = [job("a", queue="gpu", gpus=4), job("b", queue="gpu")]
    assert starts(on(line, w=Slots.of(["gpu"], ["cuda:0"], 1))) == {"b": 0}
    assert on(line, w=Slots.of(["cpu"], ["cpu"], 1)) == {}


def test_a_pause_is_waited_for() -> None:
    assert on([job("a", earliest=30.0), job("b")]) == {"b": (0, 10), "a": (30, 40)}


@pytest.mark.parametrize("queues", [("cpu",), ("gpu",), ("cpu", "gpu")])
@pytest.mark.parametrize("concurrency", [1, 2, 4])
@pytest.mark.parametrize("gpus", [0, 1, 2, 5])
def test_slots_are_those_of_the_worker(
    queues: tuple[str, ...], concurrency: int, gpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is foreseen and what the worker does are one rule: stage after stage, until nothing fits."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus))))
    devices = Devices("auto", queues, concurrency)
    slots = Slots.of(queues, devices.names, concurrency)
    for turn in range(concurrency):
        for queue in ("cpu", "gpu"):
            able = queue in devices.open_queues()
            assert slots.fits(queue, 1) == able, (queue, turn)
        queue = next((name for name in ("gpu", "cpu") if name in devices.open_queues()), None)
        if queue is None:
            return
        devices.take(queue, 1)
        slots.take(queue, 1)
    assert not slots.fits("cpu", 1)


def test_a_long_line_is_played_in_a_moment() -> None:
    line = [job(f"{place:04d}", owner=f"o{place % 7}", seconds=1.0 + place % 3) for place in range(1000)]
    assert len(on(line, w=Slots.of(["cpu"], ["cpu"], 8))) == 1000
