"""What a stage uses: real processes that compute, hold memory, have children; GPUs that answer and that do not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from services.queue.attempts import Usage
from services.queue.curve import Curves
from tests.worker.conftest import Until
from worker.host import gpus
from worker.host.devices import visible_gpus
from worker.host.gpus import Reading
from worker.host.machine import Machine
from worker.host.meter import Meter

COMPUTE = "held = bytearray(b'x') * (64 << 20)\nprint(flush=True)\nwhile True: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {COMPUTE!r}])"


@contextmanager
def running(code: str) -> Iterator[int]:
    """Run a program, and lend its process id once it, or its child, has begun."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            os.killpg(process.pid, 9)


@pytest.mark.parametrize("code", [COMPUTE, PARENT], ids=["itself", "by a child"])
def test_processors_and_memory_of_a_stage_and_its_children(code: str, until: Until) -> None:
    with running(code) as pid:
        meter = Meter(pid)

        def computed() -> bool:
            meter.look()
            return (meter.usage().cpu_seconds or 0) > 0.3

        until(computed)
    meter.look()  # it is gone
    usage = meter.usage()
    curves = Curves.of(usage.curves)
    assert 0 < (curves.most("cpu") or 0) < 1.5
    assert (curves.most("memory_bytes") or 0) > 64 << 20
    assert (curves.gpu, curves.gpu_memory_bytes) == ([], [])
    assert (usage.memory_bytes, usage.gpu_memory_bytes, usage.disk_bytes) == (None, None, None)  # the stage says those


def test_a_process_that_is_gone_was_never_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with Meter(process.pid) as meter:
        meter.look()
    assert meter.usage() == Usage()


def test_a_driver_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang(_: Any) -> list[Reading]:
        asked.set()
        over.wait(60)
        return []

    monkeypatch.setattr(gpus, "read", hang)
    with Meter(os.getpid(), ["0"]) as meter:
        assert asked.wait(60)
        assert meter.usage() == Usage()
    over.set()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[..., Any]]]:
    """The answers of NVIDIA's library by the function's name; the caller may change them."""
    answers: dict[str, Callable[..., Any]] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetHandleByUUID": lambda name: name,
        "nvmlDeviceGetUtilizationRates": lambda _: SimpleNamespace(gpu=40),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=700, total=1000),
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=os.getpid(), usedGpuMemory=500)],
    }
    for name in list(answers):
        monkeypatch.setattr(pynvml, name, lambda *given, name=name: answers[name](*given))
    gpus._ready.cache_clear()
    yield answers
    gpus._ready.cache_clear()


def refuse(*_: Any) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


@pytest.mark.usefixtures("library")
def test_gpus_by_number_and_by_id() -> None:
    found = gpus.read(["0", "GPU-1f2e"])
    assert found == [Reading(0.4, 700, 1000, {os.getpid(): 500})] * 2
    assert gpus.busy(found) == 0.4
    assert gpus.memory_bytes(found, [os.getpid()]) == 1000
    assert gpus.memory_bytes(found, [1]) == 1400  # of processes in another name space all that is taken counts
    meter = Meter(os.getpid(), ["0"])
    meter.look()
    assert Curves.of(meter.usage().curves).gpu == [0.4]


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("nvmlInit", Reading()),
        ("nvmlDeviceGetHandleByIndex", Reading()),
        ("nvmlDeviceGetUtilizationRates", Reading(None, 700, 1000, {os.getpid(): 500})),  # of a part of a GPU
        ("nvmlDeviceGetMemoryInfo", Reading(0.4, None, None, {os.getpid(): 500})),
        ("nvmlDeviceGetComputeRunningProcesses", Reading(0.4, 700, 1000, {})),
    ],
)
def test_whatever_the_library_refuses_costs_that_number_alone(
    library: dict[str, Callable[..., Any]], name: str, reading: Reading
) -> None:
    library[name] = refuse
    assert gpus.read(["0"]) == [reading]
    meter = Meter(os.getpid(), ["0"])
    meter.look()
    assert (Curves.of(meter.usage().curves).most("memory_bytes") or 0) > 0


@pytest.mark.usefixtures("library")
def test_what_a_machine_does() -> None:
    machine = Machine(["0"])
    assert machine.use is None
    machine.look()
    use = machine.use
    assert use is not None
    assert 0 <= use["cpu"] <= 1
    assert use["cores"] == os.cpu_count()
    assert 0 < use["memory_bytes"] < use["memory_total_bytes"]
    assert use["gpus"] == [{"name": "cuda:0", "busy": 0.4, "memory_bytes": 700, "memory_total_bytes": 1000}]


@pytest.mark.gpu
@pytest.mark.skipif(not visible_gpus(), reason="no NVIDIA GPU")
def test_a_real_gpu_says_what_it_does() -> None:
    [reading] = gpus.read(["0"])
    assert reading.busy is not None
    assert 0 <= reading.busy <= 1
    assert reading.memory_bytes is not None
    assert reading.total_bytes is not None
    assert reading.memory_bytes < reading.total_bytes
