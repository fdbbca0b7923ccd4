"""Use, hours and times in columns and words."""

from __future__ import annotations

import pytest

from cli.commands import fleet, usage
from cli.commands.experiments import _when
from cli.output import USED, used
from cli.use import COLUMNS, bars, print_use
from cli.watch import words

USE = {
    "name": "train rgb",
    "attempt": 2,
    "state": "running",
    "device": "cuda:0",
    "seconds": 90.0,
    "gpus": 1,
    "gpu_hours": 0.025,
    "cpu_hours": None,
    "mean_cpu": 1.25,
    "most_memory_bytes": 2e9,
    "mean_gpu": 0.8,
    "most_gpu_memory_bytes": 3e9,
    "curves": {"cpu": [1.0, 2.0], "gpu": [0.0, None, 1.0]},
}


def test_each_attempt_is_a_row(capsys):
    print_use([USE])
    title, header, row = capsys.readouterr().out.splitlines()
    assert title == "use of the machines"
    assert [name.rstrip("#") for name in COLUMNS if name.rstrip("#") not in header] == []
    for text in ("train rgb", "1.5 min", "1.2", "2.00 GB", "80 %", "3.00 GB", "0.025", "▁ █"):
        assert text in row


@pytest.mark.parametrize(
    ("curve", "drawn"),
    [
        ([], None),
        ([None], None),
        ([0.0], "▁"),
        ([1.0, 0.5, None], "█▅ "),
        ([float(number) for number in range(100)], "▁▁▂▂▂▃▃▄▄▄▅▅▆▆▆▇▇███"),
    ],
)
def test_a_curve_in_letters(curve, drawn):
    assert bars(curve) == drawn


def test_what_nobody_measured_is_no_nought():
    assert used(dict.fromkeys(("cpu", "memory_bytes", "gpu", "gpu_memory_bytes"))) == (None,) * len(USED)
    assert used({"cpu": 0.0, "memory_bytes": 0, "gpu": 0.0, "gpu_memory_bytes": 0}) == ("0.0", "0 B", "0 %", "0 B")


def test_a_machine_in_words():
    gpu = {"name": "cuda:0", "busy": 0.5, "memory_bytes": 1, "memory_total_bytes": 2}
    machine = {"cpu": 0.25, "cores": 1, "memory_bytes": 10**9, "memory_total_bytes": 4 * 10**9, "gpus": [gpu]}
    assert fleet._machine(machine) == "25 % of 1 CPU, 1.00 GB of 4.00 GB, 50 % of cuda:0"
    assert fleet._machine(None) is None


def test_times_of_stages_in_words():
    span = {"low": 300.0, "high": 480.0}
    running = {"time_left_seconds": span, "starts_in_seconds": None}
    assert _when(running) == "5 to 8 min left"
    assert _when({"time_left_seconds": None, "starts_in_seconds": {"low": 60.0, "high": None}}) == (
        "starts in at least 1 min"
    )
    assert _when({"time_left_seconds": None, "starts_in_seconds": None}) is None
    progress = {"done": 1, "total": 4, "unit": "steps", "message": ""}
    assert words({"progress": progress, **running}) == "1/4 steps, 5 to 8 min left"


def test_a_row_of_hours():
    names = ("gpu_hours", "shared_gpu_hours", "failed_gpu_hours", "cpu_hours", "hours")
    row = dict.fromkeys(names, 1.0) | {"attempts": 3}
    assert usage._hours(row) == ("1.00",) * 5 + (3,)
    assert len(usage.HOURS) == 6
