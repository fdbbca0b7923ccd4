"""Curves of a bounded number of points."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.queue.curve import FIRST_SECONDS, MEBIBYTE, MOST_POINTS, Curves, Recorder, Sample


def test_a_point_is_a_mean_or_the_most() -> None:
    recorder = Recorder()
    for seconds, cpu, memory in ((0.2, 1.0, 5), (0.6, 2.0, 9), (2.5, 4.0, 7)):
        recorder.add(seconds, Sample(cpu=cpu, memory_bytes=memory * MEBIBYTE))
    curves = Curves.of(recorder.kept())
    assert curves.cpu == [1.5, None, 4.0]
    assert curves.memory_bytes == [9 * MEBIBYTE, None, 7 * MEBIBYTE]
    assert (curves.gpu, curves.gpu_memory_bytes) == ([], [])
    assert (curves.mean("cpu"), curves.most("memory_bytes"), curves.mean("gpu")) == (2.75, 9 * MEBIBYTE, None)
    assert curves.last() == Sample(cpu=4.0, memory_bytes=7 * MEBIBYTE)


@pytest.mark.parametrize("hours", [0.01, 1, 24, 24 * 30])
def test_however_long_it_runs_the_curve_stays_small_and_covers_all(hours: float) -> None:
    recorder, seconds = Recorder(), 0.0
    while seconds < hours * 3600:
        recorder.add(seconds, Sample(1.0, 3 * MEBIBYTE, 0.25, 5 * MEBIBYTE))
        seconds += max(1.0, recorder.spacing / 2)
    kept = recorder.kept()
    assert kept is not None
    assert len(json.dumps(kept)) < 4000
    curves = Curves.of(kept)
    assert MOST_POINTS / 2 <= len(curves.cpu) + 90 * (hours < 0.02) <= MOST_POINTS + 90
    assert curves.spacing * len(curves.cpu) >= hours * 3600 - curves.spacing
    assert set(curves.cpu) == {1.0}
    assert set(curves.gpu_memory_bytes) == {5 * MEBIBYTE}


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 64)), min_size=1, max_size=60))
def test_no_peak_is_lost(samples: list[tuple[float, float]]) -> None:
    recorder = Recorder()
    for seconds, value in sorted(samples):
        recorder.add(seconds, Sample(cpu=value, memory_bytes=value * 1000 * MEBIBYTE))
    curves = Curves.of(recorder.kept())
    assert len(curves.cpu) <= MOST_POINTS
    assert curves.most("memory_bytes") == round(max(value for _, value in samples) * 1000) * MEBIBYTE
    most, mean = curves.most("cpu"), curves.mean("cpu")
    assert most is not None
    assert mean is not None
    assert mean <= most + 1e-3
    assert most <= max(value for _, value in samples) + 1e-3


def test_nothing_measured_is_nothing() -> None:
    assert Recorder().kept() is None
    assert Curves.of(None) == Curves(FIRST_SECONDS)
    assert Curves.of(None).last() == Sample()
