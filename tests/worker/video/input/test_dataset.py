from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from models.backbones import InputFormat
from services.errors import DataError
from worker.video.decoding.decode import DecodeFailed, decode_clip
from worker.video.input.dataset import ClipDataset, FlowSource, FrameDataset, RgbSource, visible_frames
from worker.video.input.sampling import spaced_frames, stack_fields
from worker.video.input.transforms import TestTransform, TrainTransform
from worker.video.survey.manifest import Clip

Clips = tuple[Clip, Clip]
PLAIN = TestTransform(InputFormat(32, 3, (0.0,), (1.0,)))


def augmented(*, flow: bool = False) -> TrainTransform:
    input_format = InputFormat(16, 8 if flow else 3, (0.5,), (0.25,))
    return TrainTransform(input_format, flow=flow, min_area=0.3, flip=0.5, invert_flow_on_flip=True, jitter=0.4)


@pytest.fixture
def shards(tmp_path: Path, clips: Clips) -> tuple[Path, Path]:
    """Flow of the two clips, one in each shard; field i of clip a has x = 2i and y = 2i + 1."""
    folders = tmp_path / "flow-0", tmp_path / "flow-1"
    for folder, clip in zip(folders, clips, strict=True):
        values = np.arange(2 * (clip.frames - 1), dtype=np.uint8).reshape(-1, 2, 1, 1)
        (folder / clip.id).parent.mkdir(parents=True)
        np.save(folder / f"{clip.id}.npy", np.broadcast_to(values, (clip.frames - 1, 2, 32, 48)))
    return folders


@pytest.mark.parametrize(("first_seconds", "visible"), [(None, 12), (5 / 25, 5)])
def test_training_draws_from_the_first_seconds_alone(
    clips: Clips, shards: tuple[Path, Path], first_seconds: float | None, visible: int
) -> None:
    """Of the 11 fields of clip a, 0 to 10, those between its first 5 frames are 0 to 3; field i holds 2i and 2i + 1."""
    plain = TestTransform(InputFormat(32, 2, (0.0,), (1.0,)))
    clip = clips[0].model_copy(update={"fps": 25.0})
    dataset = FrameDataset(
        [clip], FlowSource(shards, 1), plain, seed=0, samples_per_clip=200, first_seconds=first_seconds
    )
    seen = {int(dataset[item][0].max()) // 2 for item in range(200)}
    assert seen == set(range(visible - 1))


@pytest.mark.parametrize("cache_bytes", [0, 12 * 32 * 48 * 3, 2**30])
def test_rgb_source_reads_frames_cached_or_not(root: Path, clips: Clips, cache_bytes: int) -> None:
    source = RgbSource(root, cache_bytes)
    for _ in range(2):
        for clip in clips:
            frames = source.read(clip, [5, 0, 5])
            assert frames.shape == (3, 3, 32, 48)
            assert frames.dtype == torch.uint8
            expected = decode_clip(root / clip.path)[[5, 0, 5]].transpose(0, 3, 1, 2)
            np.testing.assert_array_equal(frames.numpy(), expected)


def test_rgb_source_decodes_a_cached_clip_once(root: Path, clips: Clips) -> None:
    source = RgbSource(root)
    source.read(clips[0], [0])
    (root / clips[0].path).unlink()
    source.read(clips[0], [11])


def test_rgb_source_refuses_a_clip_that_changed(root: Path, clips: Clips) -> None:
    longer = clips[1].model_copy(update={"frames": 8})
    with pytest.raises(DecodeFailed, match="manifest has 8 frames, 7 decode"):
        RgbSource(root).read(longer, [0])
    with pytest.raises(DecodeFailed, match="the clip has 7 frames"):
        RgbSource(root, cache_bytes=0).read(longer, [7])


def test_flow_source_interleaves_x_and_y_of_the_stack(shards: tuple[Path, Path], clips: Clips) -> None:
    source = FlowSource(shards, stack=4)
    assert source.channels == 8
    stacks = source.read(clips[0], [5, 0])
    assert stacks.shape == (2, 8, 32, 48)
    assert stacks[0, :, 0, 0].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]  # fields 4 to 7
    assert stacks[1, :, 0, 0].tolist() == [0, 1, 0, 1, 2, 3, 4, 5]  # field 0 stands in for the one before it


def test_flow_source_reads_nothing_behind_what_may_be_looked_at(shards: tuple[Path, Path], clips: Clips) -> None:
    source = FlowSource(shards, stack=4)
    assert source.read(clips[0], [5], visible=6)[0, 0::2, 0, 0].tolist() == [8, 8, 8, 8]  # field 4 leads to frame 5
    assert source.read(clips[0], [3, 5], visible=12).equal(source.read(clips[0], [3, 5]))
    with pytest.raises(
        DataError, match=r"A/a\.avi: flow needs 2 frames, the clip has 12, of which first_seconds leaves 1"
    ):
        source.read(clips[0], [0], visible=1)
    flow = ClipDataset(clips, source, PLAIN, frames=None, stack=4, first_seconds=0.2)
    assert flow.lengths == [5, 5]
    assert flow[0].max() == 2 * 3 + 1  # the y of field 3, which leads to frame 4


def test_seconds_need_a_frame_rate(clips: Clips) -> None:
    assert [visible_frames(clips[0], seconds) for seconds in (None, 0.2, 60.0)] == [12, 5, 12]
    timeless = clips[0].model_copy(update={"fps": 0.0})
    assert visible_frames(timeless, None) == 12
    with pytest.raises(DataError, match=r"A/a\.avi: first_seconds: got 10 s of a clip that declares no frame rate"):
        visible_frames(timeless, 10.0)


def test_flow_source_names_what_is_missing_or_wrong(shards: tuple[Path, Path], clips: Clips) -> None:
    with pytest.raises(DataError, match="no flow of clip B/b: looked in 1 shards"):
        FlowSource(shards[:1], stack=4).read(clips[1], [0])
    with pytest.raises(DataError, match=r"b.npy: 6 flow fields, allowed: 9"):
        FlowSource(shards, stack=4).read(clips[1].model_copy(update={"frames": 10}), [0])
    with pytest.raises(ValueError, match="folders: got none"):
        FlowSource([], stack=4)


def test_frame_dataset_has_samples_of_every_clip(root: Path, clips: Clips) -> None:
    dataset = FrameDataset(clips, RgbSource(root), augmented(), seed=0, samples_per_clip=3)
    assert len(dataset) == 6
    items = [dataset[index] for index in range(6)]
    assert [label for *_, label in items] == [0, 1, 0, 1, 0, 1]
    assert all(frame.shape == (3, 16, 16) and frame.dtype == torch.uint8 for frame, *_ in items)
    assert all(colours.shape == (3, 2) for _, colours, _ in items)
    assert not torch.equal(items[0][1], items[2][1])
    assert not torch.equal(items[0][0], items[2][0])
    with pytest.raises(IndexError, match="index: got 6, allowed: 0 to 5"):
        dataset[6]


def test_frame_dataset_gives_flow_stacks(shards: tuple[Path, Path], clips: Clips) -> None:
    dataset = FrameDataset(clips, FlowSource(shards, 4), augmented(flow=True), seed=0)
    assert dataset[1][0].shape == (8, 16, 16)


def test_frame_dataset_depends_on_seed_epoch_and_clip_alone(root: Path, clips: Clips) -> None:
    def item(seed: int, epoch: int, order: Clips, place: int) -> torch.Tensor:
        dataset = FrameDataset(order, RgbSource(root), augmented(), seed=seed)
        dataset.set_epoch(epoch)
        return dataset[place][0]

    base = item(0, 1, clips, 0)
    torch.testing.assert_close(item(0, 1, clips[::-1], 1), base)
    assert not torch.equal(item(1, 1, clips, 0), base)
    assert not torch.equal(item(0, 2, clips, 0), base)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12, beside threads
def test_frame_dataset_is_the_same_with_loader_workers(root: Path, clips: Clips) -> None:
    dataset = FrameDataset(clips, RgbSource(root), augmented(), seed=7, samples_per_clip=4)
    alone = DataLoader(dataset, batch_size=3)
    shared = DataLoader(dataset, batch_size=3, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for one, other in zip(alone, shared, strict=True):
            for first, second in zip(one, other, strict=True):
                torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_clip_dataset_has_the_spaced_frames_of_both_streams(
    root: Path, shards: tuple[Path, Path], clips: Clips
) -> None:
    rgb = ClipDataset(clips, RgbSource(root, cache_bytes=0), PLAIN, frames=5, stack=4)
    flow = ClipDataset(clips, FlowSource(shards, 4), PLAIN, frames=5, stack=4)
    assert len(rgb) == len(flow) == 2
    chosen = spaced_frames(12, 5, 4).tolist()
    frames, stacks = rgb[0], flow[0]
    assert (frames.shape, stacks.shape) == ((5, 3, 32, 32), (5, 8, 32, 32))
    first_fields = [int(stack_fields(frame, 4, 12)[0]) for frame in chosen]
    assert (stacks[:, 0, 0, 0] // 2).tolist() == first_fields
    decoded = decode_clip(root / clips[0].path)[chosen][:, :, 8:40]
    np.testing.assert_array_equal(frames.numpy(), decoded.transpose(0, 3, 1, 2))
    torch.testing.assert_close(rgb.finish(frames), frames / 255)


def test_flow_of_large_frames_from_before_there_was_a_choice_is_refused(tmp_path: Path) -> None:
    """Its stage has the key of today's, which brings frames to 256 pixels."""
    facts = {"label": 0, "group": 1, "sha256": "", "fps": 25.0, "width": 300, "height": 258, "frames": 3}
    clip = Clip(id="x", path="x.avi", **facts)
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 258, 300), np.uint8))
    with pytest.raises(
        DataError, match=r"x\.npy: flow of 300x258 pixels by an earlier version.* hint: twostream cache gc"
    ):
        FlowSource([tmp_path], stack=1).read(clip, [0])
    (tmp_path / "flow.json").write_text("{}")
    assert FlowSource([tmp_path], stack=1).read(clip, [0]).shape == (1, 2, 258, 300)
