from pathlib import Path

import numpy as np
import pytest
import torch

from services.errors import DataError
from services.params import FlowMethodParams
from worker.video.decoding.decode import decode_clip
from worker.video.flow import batched
from worker.video.input.dataset import ClipSource
from worker.video.input.on_the_fly import OnTheFlyFlow
from worker.video.input.sampling import stack_fields
from worker.video.survey.manifest import Clip

CPU = torch.device("cpu")
PARAMS = FlowMethodParams(algorithm="tvl1", bound=20.0)


@pytest.fixture
def source(root: Path) -> ClipSource:
    torch.set_num_threads(1)
    return OnTheFlyFlow(root, PARAMS, 3, CPU)


def test_stacks_are_those_of_stored_flow(source: ClipSource, root: Path, clips: tuple[Clip, Clip]) -> None:
    stored = batched.build(PARAMS, CPU).fields(decode_clip(root / clips[1].path, "grey"))
    frames = [3, 0, 6, 3]
    stacks = source.read(clips[1], frames)
    assert (source.channels, stacks.dtype, stacks.shape) == (6, torch.uint8, (4, 6, 32, 48))
    for frame, stack in zip(frames, stacks.numpy(), strict=True):
        expected = stored[stack_fields(frame, 3, clips[1].frames)]
        np.testing.assert_array_equal(stack, expected.reshape(6, 32, 48))


def test_stacks_end_where_no_more_may_be_looked_at(source: ClipSource, root: Path, clips: tuple[Clip, Clip]) -> None:
    stored = batched.build(PARAMS, CPU).fields(decode_clip(root / clips[1].path, "grey"))
    stack = source.read(clips[1], [3], visible=4)[0].numpy()
    np.testing.assert_array_equal(stack, stored[[2, 2, 2]].reshape(6, 32, 48))
    with pytest.raises(DataError, match="flow needs 2 frames, the clip has 7, of which first_seconds leaves 1"):
        source.read(clips[1], [0], visible=1)


def test_a_clip_of_one_frame_is_refused(source: ClipSource, clips: tuple[Clip, Clip]) -> None:
    with pytest.raises(DataError, match="flow needs 2 frames, the clip has 1"):
        source.read(clips[0].model_copy(update={"frames": 1}), [0])


def test_algorithms_without_a_batched_form_are_refused() -> None:
    with pytest.raises(ValueError, match="flow algorithm: got 'dis', allowed in batches"):
        batched.build(FlowMethodParams(algorithm="dis", bound=20.0), CPU)
