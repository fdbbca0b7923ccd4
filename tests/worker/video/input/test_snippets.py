"""Frames and views of end-to-end training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.backbones import InputFormat
from worker.video.input.crops import MultiScale, Stretch, TestCrops
from worker.video.input.dataset import FlowSource
from worker.video.input.sampling import spaced_frames, spaced_frames_whole_step, stack_fields
from worker.video.input.snippets import SnippetDataset, ViewDataset, centres
from worker.video.survey.manifest import Clip

CLIP = Clip(id="A/a", path="A/a.avi", label=1, group=1, sha256="", frames=40, fps=25.0, width=48, height=40)


def plain(size: int, channels: int = 3) -> InputFormat:
    """Return a format that changes no value."""
    return InputFormat(size, channels, mean=(0.0,), std=(1.0,))


class Numbers:
    """Frames whose values are their numbers."""

    channels = 3

    def read(self, clip: Clip, frames: Sequence[int], visible: int | None = None) -> Tensor:
        return torch.tensor(frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, clip.height, clip.width)


def seen(frames: Tensor) -> list[int]:
    return frames[..., 0, 0, 0].tolist()


def dataset(seed: int = 0, **changes: object) -> SnippetDataset:
    options = {"snippets": 4, "stack": 1, **changes}
    return SnippetDataset([CLIP], Numbers(), Stretch(plain(8)), seed=seed, **options)  # type: ignore[arg-type]


def test_each_part_of_a_clip_gives_one_frame_at_random() -> None:
    ours, found = dataset(), []
    for epoch in range(20):
        ours.set_epoch(epoch)
        frames, _, label = ours[0]
        assert (frames.shape, label) == ((4, 3, 8, 8), 1)
        found.append(seen(frames))
    assert all([frame // 10 for frame in frames] == [0, 1, 2, 3] for frames in found)
    assert len({tuple(frames) for frames in found}) > 10
    ours.set_epoch(0)
    assert seen(ours[0][0]) == found[0]
    assert seen(dataset(seed=1)[0][0]) != found[0]


def test_only_the_beginning_is_seen() -> None:
    assert max(seen(dataset(first_seconds=0.4)[0][0])) < 10


def test_no_stack_leads_behind_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "A").mkdir()
    numbers = np.arange(CLIP.frames - 1, dtype=np.uint8).reshape(-1, 1, 1, 1)  # of each field
    np.save(tmp_path / f"{CLIP.id}.npy", np.broadcast_to(numbers, (CLIP.frames - 1, 2, CLIP.height, CLIP.width)))
    flow, look = FlowSource([tmp_path], stack=10), Stretch(plain(8, 20))
    training = SnippetDataset([CLIP], flow, look, seed=0, snippets=9, stack=10, first_seconds=0.4)
    crops = TestCrops("center", plain(8, 20), flow=True)
    for positions in (1, 4):
        test = ViewDataset([CLIP], flow, crops, frames=9, positions=positions, stack=10, first_seconds=0.4)
        for found in (training[0][0], test[0]):
            assert found.max() <= 8  # field 8 leads to frame 9, the last of 0.4 s


@pytest.mark.parametrize(("stack", "num_frames"), [(1, 40), (5, 40), (10, 40), (10, 3)])
def test_the_stack_around_a_centre_begins_where_the_sample_does(stack: int, num_frames: int) -> None:
    starts = np.arange(max(1, num_frames - stack))
    for start, frame in zip(starts, centres(starts, stack, num_frames), strict=True):
        assert stack_fields(int(frame), stack, num_frames)[0] == start


def views(crops: str, **changes: object) -> ViewDataset:
    options = {"frames": 5, "positions": 1, "stack": 1, **changes}
    look = TestCrops(crops, plain(8), flow=False)  # type: ignore[arg-type]
    return ViewDataset([CLIP], Numbers(), look, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("crops", "number"), [("center", 1), ("stretch", 1), ("five", 5), ("ten", 10)])
def test_each_crop_is_a_view_of_the_same_frames(crops: str, number: int) -> None:
    found = views(crops)[0]
    assert (found.shape, found.dtype) == ((number, 5, 3, 8, 8), torch.uint8)
    assert seen(found) == [spaced_frames(40, 5, 1).tolist()] * number


def test_frames_may_lie_a_whole_step_apart() -> None:
    found = seen(views("center", spacing="whole_step")[0])
    assert found == [spaced_frames_whole_step(40, 5, 1).tolist()]
    assert found != seen(views("center")[0])


def test_each_position_is_a_group_of_frames() -> None:
    found = views("five", positions=2)[0]
    assert found.shape == (10, 5, 3, 8, 8)
    groups = {tuple(frames) for frames in seen(found)}
    assert groups == {(2, 10, 18, 26, 34), (6, 14, 22, 30, 38)}


def test_ten_crops_mirror_and_turn_the_x_flow() -> None:
    frames = torch.zeros(1, 4, 40, 48, dtype=torch.uint8)
    frames[..., 24:] = 200
    five, ten = (TestCrops(crops, plain(32, 4), flow=True)(frames) for crops in ("five", "ten"))  # type: ignore[arg-type]
    torch.testing.assert_close(ten[:5], five)
    mirrored = ten[5:].flip(-1)
    torch.testing.assert_close(mirrored[:, :, 1::2], five[:, :, 1::2])
    torch.testing.assert_close(mirrored[:, :, 0::2], 255 - five[:, :, 0::2])


def test_all_snippets_of_a_clip_get_one_crop_and_flip() -> None:
    frames = torch.arange(48).repeat(3, 3, 40, 1).to(torch.uint8)
    change = MultiScale(plain(16), flow=False)
    results = [change(frames, np.random.default_rng(seed)) for seed in range(20)]
    assert all(torch.equal(result[0], result[2]) and result.shape == (3, 3, 16, 16) for result in results)
    falling = [bool((result[0, 0, 0].int().diff() <= 0).all()) for result in results]
    assert 3 < sum(falling) < 17
    assert len({float(result.sum()) for result in results}) > 5
