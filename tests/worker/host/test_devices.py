"""What a stage runs on."""

from __future__ import annotations

import pytest

from worker.host.devices import Devices


class TestSlots:
    """Stages of queue ``cpu`` leave a slot for each GPU that the worker serves."""

    @pytest.fixture
    def four(self, monkeypatch: pytest.MonkeyPatch) -> Devices:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        return Devices("auto", ("cpu", "gpu"), 4)

    def test_long_cpu_stages_leave_the_gpu_its_slot(self, four: Devices) -> None:
        grants = []
        while "cpu" in four.open_queues():
            grants.append(four.take("cpu", 1))
        assert len(grants) == 3
        assert four.open_queues() == ["gpu"]
        gpu = four.take("gpu", 1)
        assert four.open_queues() == []
        four.give_back("cpu", grants.pop())
        assert four.open_queues() == ["cpu"]
        four.give_back("gpu", gpu)
        assert four.open_queues() == ["cpu", "gpu"]

    def test_a_worker_of_one_slot_serves_both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        assert Devices("auto", ("cpu", "gpu"), 1).open_queues() == ["cpu", "gpu"]

    def test_without_a_gpu_nothing_is_kept_free(self) -> None:
        devices = Devices("cpu", ("cpu", "gpu"), 2)
        assert [devices.open_queues() for _ in range(2) if devices.take("cpu", 1)] == [["cpu", "gpu"]] * 2
