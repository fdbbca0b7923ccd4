"""Equal parts of a clip: how networks and samplers round, and that those that follow one paper round alike."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.parts.segments import (
    cut_segments,
    draw_from_segments,
    exact_parts,
    step_of_segments,
    whole_parts,
)
from worker.video.input import protocols

lengths = st.integers(1, 2000)
counts = st.integers(1, 100)


def numbered(steps: int, videos: int = 1) -> Tensor:
    """Features that are the number of their step: ``(N, T, 1)``."""
    return torch.arange(float(steps))[None, :, None].repeat(videos, 1, 1)


@given(length=lengths, segments=counts)
def test_whole_parts_leave_a_remainder_of_less_than_one_step_a_part(length: int, segments: int) -> None:
    firsts, sizes = whole_parts(torch.tensor([length, 7]), segments)
    assert firsts.shape == (2, segments)
    assert sizes.tolist() == [[length // segments], [7 // segments]]
    assert firsts[0].tolist() == [part * (length // segments) for part in range(segments)]
    assert 0 <= length - segments * int(sizes[0]) < segments


@given(length=lengths, segments=counts, share=st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 0.875]))
def test_exact_parts_are_exact(length: int, segments: int, share: float) -> None:
    eighths = int(8 * share)
    steps = exact_parts(torch.tensor([length]), segments, share)[0].tolist()
    assert steps == [(8 * part + eighths) * length // (8 * segments) for part in range(segments)]


@given(length=lengths, segments=counts)
def test_the_end_of_a_part_is_within_it(length: int, segments: int) -> None:
    steps = exact_parts(torch.tensor([length]), segments, 1 - 2**-53)[0]
    assert steps.max() == length - 1
    assert (steps.diff() >= 0).all()


@given(length=lengths, segments=counts)
def test_a_network_and_a_sampler_round_alike_where_they_follow_one_paper(length: int, segments: int) -> None:
    middles = exact_parts(torch.tensor([length]), segments, 0.5)[0].numpy()
    np.testing.assert_array_equal(protocols.segment_positions(length, segments, 1)[0], middles)  # Relational LSTM
    assert (middles - protocols.segment_centres(length, segments, 1)).max() <= 1  # tsn-pytorch, which has its floats
    assert (middles >= protocols.segment_centres(length, segments, 1)).all()
    firsts, sizes = whole_parts(torch.tensor([length]), segments)
    if sizes:
        starts = protocols.segment_starts(length, segments, 1, np.random.default_rng(0))
        assert ((firsts[0].numpy() <= starts) & (starts < firsts[0].numpy() + int(sizes))).all()  # TSN
        runs = protocols.snippets(length, segments, 1)[:, 0]
        assert runs.tolist() == (firsts[0] + sizes[0] // 2).tolist()  # VideoLSTM


def test_a_masked_clip_is_cut_by_its_own_length() -> None:
    mask = torch.arange(10) < torch.tensor([[10], [5]])
    x, valid = cut_segments(numbered(10, 2), 2, mask)
    assert valid is not None
    assert x[1, :, :, 0][valid[1]].tolist() == [0, 1, 2, 3]
    assert x[0, :, :, 0].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_tsn_draws_one_snippet_of_each_whole_part() -> None:
    steps = numbered(12, 200)
    drawn = draw_from_segments(steps, 3)[..., 0]
    for segment in range(3):
        assert set(drawn[:, segment].tolist()) == set(range(4 * segment, 4 * segment + 4))
    short = draw_from_segments(steps, 3, torch.full((200,), 6))[..., 0]
    assert set(short.flatten().tolist()) == set(range(6))
    assert draw_from_segments(steps[:, :3], 3).tolist() == steps[:, :3].tolist()
    with pytest.raises(ValueError, match="got a clip of 2 steps, allowed: at least 3"):
        draw_from_segments(steps[:, :2], 3)


@pytest.mark.parametrize("segments", [6, 8, 10, 12])
def test_a_relational_lstm_takes_one_step_of_each_exact_part(segments: int) -> None:
    steps, mask = numbered(25, 2), torch.arange(25) < torch.tensor([[25], [13]])
    middle = step_of_segments(steps, segments, mask, share=0.5)
    for _ in range(20):
        drawn = step_of_segments(steps, segments, mask, share=None)
        for row, length in enumerate((25, 13)):
            part = length / segments
            for s in range(segments):
                assert int(s * part) <= drawn[row, s] < (s + 1) * part
                assert middle[row, s] == int((s + 0.5) * part)


@pytest.mark.parametrize("share", [None, 0.0, 0.5])
def test_as_many_steps_as_segments_are_taken_as_they_are(share: float | None) -> None:
    features = torch.randn(2, 8, 3)
    assert step_of_segments(features, 8, share=share) is features
    assert torch.equal(step_of_segments(features, 8, torch.ones(2, 8, dtype=torch.bool), share=share), features)


def test_a_clip_shorter_than_its_segments_repeats_steps() -> None:
    assert step_of_segments(numbered(3), 6, share=0.5).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert step_of_segments(numbered(4), 2, share=0.0).flatten().tolist() == [0, 2]
