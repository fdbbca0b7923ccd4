import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.video.input import protocols

lengths = st.integers(1, 2000)
counts = st.integers(1, 60)
spans = st.integers(1, 40)
seeds = st.integers(0, 2**31)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(num_frames=lengths, count=counts, length=spans, seed=seeds)
def test_starts_are_in_range_ordered_and_leave_room_for_both_streams(
    num_frames: int, count: int, length: int, seed: int
) -> None:
    for starts in (
        protocols.segment_starts(num_frames, count, length, rng(seed)),
        protocols.segment_centres(num_frames, count, length),
        protocols.ticks(num_frames, count, length),
        *protocols.segment_positions(num_frames, count, 4, length),
    ):
        assert starts.shape == (count,)
        assert starts.dtype == np.int64
        assert starts.min() >= 0
        assert starts.max() <= max(0, num_frames - length)  # rgb takes the start, flow the L from there
        assert (np.diff(starts) >= 0).all()


@given(num_frames=lengths, count=counts, length=spans)
def test_spaced_starts_are_even(num_frames: int, count: int, length: int) -> None:
    for starts in (protocols.segment_centres(num_frames, count, length), protocols.ticks(num_frames, count, length)):
        if count > 1:
            assert np.ptp(np.diff(starts)) <= 1
    groups = protocols.segment_positions(num_frames, count, 4, length)
    assert all(np.ptp(np.diff(group)) <= 1 for group in groups if count > 1)
    assert (np.diff(groups, axis=0) >= 0).all()


@given(num_frames=lengths, count=counts, length=spans, seed=seeds)
def test_each_segment_gives_one_start_by_seed_alone(num_frames: int, count: int, length: int, seed: int) -> None:
    starts = protocols.segment_starts(num_frames, count, length, rng(seed))
    np.testing.assert_array_equal(starts, protocols.segment_starts(num_frames, count, length, rng(seed)))
    step = max(0, num_frames - length + 1) // count
    if step:
        assert (starts // step == np.arange(count)).all()


@given(num_frames=lengths, count=counts, length=spans, seed=seeds)
def test_snippets_are_runs_that_end_with_the_clip(num_frames: int, count: int, length: int, seed: int) -> None:
    runs = [protocols.snippet(num_frames, rng(seed), length), *protocols.snippets(num_frames, count, length)]
    for run in runs:
        assert run.shape == (length,)
        assert 0 <= run.min() <= run.max() < num_frames
        steps = np.diff(run)
        assert set(steps) <= {0, 1}
        if num_frames >= length:
            assert (steps == 1).all()
    np.testing.assert_array_equal(runs[0], protocols.snippet(num_frames, rng(seed), length))


@given(num_frames=lengths, fps=st.floats(1, 120), seconds=st.floats(0.1, 100))
def test_first_seconds_are_a_part_of_the_clip(num_frames: int, fps: float, seconds: float) -> None:
    frames = protocols.first_seconds(num_frames, fps, seconds)
    assert 1 <= frames <= num_frames
    assert frames == num_frames or frames <= max(1.0, fps * seconds + 1e-3)


def test_known_values() -> None:
    assert protocols.segment_centres(100, 4, 1).tolist() == [12, 37, 62, 87]  # tsn-pytorch: int(tick / 2 + tick x)
    shortest = protocols.segment_centres(28, 25, 5)  # of UCF101, with stacks of 5: tick 24 / 25
    assert shortest.tolist() == [int(0.48 + 0.96 * place) for place in range(25)]
    assert protocols.segment_centres(4, 3, 5).tolist() == [0, 0, 0]
    assert protocols.ticks(100, 25, 1).tolist() == list(range(0, 97, 4))  # Caffe TSN: step (100 - 1) // 24, from 1
    assert protocols.ticks(3, 4, 1).tolist() == [0, 0, 1, 2]
    assert protocols.segment_positions(64).tolist()[0] == [1, 9, 17, 25, 33, 41, 49, 57]
    assert protocols.segment_positions(64).tolist()[3] == [7, 15, 23, 31, 39, 47, 55, 63]
    assert protocols.snippets(130, 4, 31)[:, 0].tolist() == [12, 37, 62, 87]
    assert protocols.snippet(3, rng(), 5).tolist() == [0, 1, 2, 2, 2]
    assert protocols.first_seconds(400, 25.0) == 250
    assert protocols.first_seconds(400, 29.97) == 299
    assert protocols.first_seconds(400, 0.0) == 400


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: protocols.segment_starts(0, 3, 1, rng()), "num_frames: got 0"),
        (lambda: protocols.segment_centres(9, 0, 1), "segments: got 0"),
        (lambda: protocols.ticks(9, 3, 0), "length: got 0"),
        (lambda: protocols.first_seconds(9, 25, 0), "seconds, fps: got 0, 25"),
    ],
)
def test_what_cannot_be_sampled_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
