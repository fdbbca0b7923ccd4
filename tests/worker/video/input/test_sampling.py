import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.video.input.sampling import random_frame, spaced_frames, spaced_frames_whole_step, stack_fields

lengths = st.integers(1, 2000)
counts = st.integers(1, 60)
stacks = st.integers(1, 32)


@given(num_frames=lengths, count=counts, stack=stacks)
def test_spaced_frames_are_in_range_ordered_even_and_mirrored(num_frames: int, count: int, stack: int) -> None:
    frames = spaced_frames(num_frames, count, stack)
    assert frames.shape == (count,)
    assert frames.min() >= 0
    assert frames.max() < num_frames
    steps = np.diff(frames)
    assert (steps >= 0).all()
    if count > 1:
        assert np.ptp(steps) <= 2
        assert frames[0] + frames[-1] == num_frames - 1
    mirrored = (num_frames - 1 - frames)[::-1]
    middle = count // 2 if count % 2 else -1
    assert all(a == b for place, (a, b) in enumerate(zip(frames, mirrored, strict=True)) if place != middle)
    assert np.abs(frames - mirrored).max() <= 1


@given(num_frames=st.integers(129, 2000), count=counts, stack=stacks)
def test_stacks_of_spaced_frames_lie_inside_the_clip(num_frames: int, count: int, stack: int) -> None:
    for frame in spaced_frames(num_frames, count, stack):
        fields = stack_fields(int(frame), stack, num_frames)
        assert (np.diff(fields[:-1]) == 1).all()  # only the last field of the last stack may stand in for one beyond


def test_spaced_frames_of_known_lengths() -> None:
    assert spaced_frames(100, 4, 10).tolist() == [5, 34, 65, 94]
    assert spaced_frames(1, 3, 10).tolist() == [0, 0, 0]
    assert spaced_frames(5, 5, 1).tolist() == [0, 1, 2, 3, 4]
    assert spaced_frames(9, 1, 10).tolist() == [4]
    assert len(set(spaced_frames(33, 25, 5).tolist())) == 25


@given(num_frames=lengths, count=counts, stack=stacks)
def test_whole_steps_are_in_range_and_ordered(num_frames: int, count: int, stack: int) -> None:
    frames = spaced_frames_whole_step(num_frames, count, stack)
    assert frames.shape == (count,)
    assert frames.min() >= 0
    assert frames.max() < num_frames
    assert (np.diff(frames) >= 0).all()


@pytest.mark.parametrize("num_frames", [15, 34, 58, 59, 186, 250, 1776])
def test_whole_steps_are_those_of_001(num_frames: int) -> None:
    step = max(1, (num_frames - 9) // 25)
    from_one = [min((i - 1) * step + 5, num_frames - 5) for i in range(1, 26)]
    assert spaced_frames_whole_step(num_frames, 25, 10).tolist() == [frame - 1 for frame in from_one]


@given(frame=st.integers(0, 99), stack=stacks, num_frames=st.integers(2, 100))
def test_stacks_are_in_range_ordered_and_around_their_frame(frame: int, stack: int, num_frames: int) -> None:
    frame = min(frame, num_frames - 1)
    fields = stack_fields(frame, stack, num_frames)
    assert fields.shape == (stack,)
    assert fields.min() >= 0
    assert fields.max() <= num_frames - 2
    assert set(np.diff(fields)) <= {0, 1}
    assert min(frame, num_frames - 2) in fields


def test_stack_of_001() -> None:
    assert stack_fields(50, 10, 200).tolist() == list(range(46, 56))
    assert stack_fields(50, 1, 200).tolist() == [50]
    assert stack_fields(0, 4, 3).tolist() == [0, 0, 1, 1]


@given(num_frames=lengths, seed=st.integers(0, 2**31))
def test_random_frames_are_in_range_and_seeded(num_frames: int, seed: int) -> None:
    frame = random_frame(num_frames, np.random.default_rng(seed))
    assert 0 <= frame < num_frames
    assert frame == random_frame(num_frames, np.random.default_rng(seed))


def test_random_frames_reach_every_frame() -> None:
    rng = np.random.default_rng(0)
    assert {random_frame(5, rng) for _ in range(200)} == set(range(5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spaced_frames(0, 25, 10), "num_frames: got 0"),
        (lambda: spaced_frames(9, 0, 10), "count: got 0"),
        (lambda: stack_fields(0, 10, 1), "num_fields: got 0"),
        (lambda: stack_fields(7, 10, 7), "frame: got 7, allowed: 0 to 6"),
        (lambda: random_frame(0, np.random.default_rng(0)), "num_frames: got 0"),
    ],
)
def test_what_cannot_be_sampled_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
