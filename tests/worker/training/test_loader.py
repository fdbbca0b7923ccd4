"""Clips through loader processes: their number changes no batch, from wherever in an epoch training goes on."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from models.backbones import InputFormat
from services.errors import DataError
from worker.training.batches import Batch, DatasetSource
from worker.training.distributed import World
from worker.training.loader import Loader
from worker.video.decoding.decode import DecodeFailed
from worker.video.input.dataset import FrameDataset, RgbSource
from worker.video.input.transforms import TrainTransform
from worker.video.survey.inspection import probe_clip
from worker.video.survey.manifest import Clip

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # from Python 3.12, beside threads


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Five clips of 13 to 17 frames, MPEG-4 in AVI as UCF101's."""
    found = []
    for number in range(5):
        path = tmp_path / f"{number}.avi"
        images = np.random.default_rng(number).integers(0, 256, (13 + number, 4, 6, 3)).astype(np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25, options={"g": "6"})
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            for image in images.repeat(8, 1).repeat(8, 2):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        info = probe_clip(path)
        assert info.paired
        found.append(Clip(id=str(number), path=path.name, label=number, group=1, sha256="", **info.model_dump()))
    return found


def source(root: Path, clips: list[Clip], num_workers: int, cache_bytes: int) -> DatasetSource:
    input_format = InputFormat(24, 3, (0.5,), (0.25,))
    transform = TrainTransform(input_format, flow=False, min_area=0.3, flip=0.5, invert_flow_on_flip=True, jitter=0.4)
    dataset = FrameDataset(clips, RgbSource(root, cache_bytes), transform, seed=3, samples_per_clip=4)
    return DatasetSource(dataset, 3, 3, World(), device=torch.device("cpu"), num_workers=num_workers)


def kept(batches: Iterable[Batch]) -> list[Batch]:
    """Return batches that outlast the next."""
    return [batch._replace(inputs=batch.inputs.clone()) for batch in batches]


def assert_same(found: Iterator[Batch], expected: list[Batch]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert one.size == other.size


@pytest.mark.parametrize("cache_bytes", [0, 2 * 13 * 32 * 48 * 3 + 1])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_loader_processes_change_no_batch(
    tmp_path: Path, clips: list[Clip], num_workers: int, cache_bytes: int
) -> None:
    """Whole epochs, epochs from their middle and from their last step, with the processes of the epoch before."""
    alone, shared = source(tmp_path, clips, 0, 0), source(tmp_path, clips, num_workers, cache_bytes)
    assert alone.steps == shared.steps == 7
    epochs = {epoch: kept(alone.batches(epoch, 0)) for epoch in (1, 2, 3)}
    assert not torch.equal(epochs[1][0].inputs, epochs[2][0].inputs)
    for epoch, first_step in ((1, 0), (2, 0), (2, 3), (3, 6), (1, 4), (3, 7)):
        assert_same(shared.batches(epoch, first_step), epochs[epoch][first_step:])


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_training_that_stops_in_an_epoch_goes_on_with_the_next_batch(
    tmp_path: Path, clips: list[Clip], num_workers: int
) -> None:
    expected = kept(source(tmp_path, clips, 0, 0).batches(2, 0))
    stopped = source(tmp_path, clips, num_workers, 0)
    list(stopped.batches(1, 0))
    batches = stopped.batches(2, 0)
    for before in expected[:3]:
        assert torch.equal(next(batches).inputs, before.inputs)
    del batches, stopped  # with batches read ahead that nobody took
    assert_same(source(tmp_path, clips, num_workers, 0).batches(2, 3), expected[3:])


@pytest.mark.parametrize("num_workers", [1, 2])
def test_an_epoch_that_was_left_does_not_reach_into_the_next(
    tmp_path: Path, clips: list[Clip], num_workers: int
) -> None:
    expected = kept(source(tmp_path, clips, 0, 0).batches(2, 0))
    shared = source(tmp_path, clips, num_workers, 0)
    next(shared.batches(1, 0))
    assert_same(shared.batches(2, 0), expected)
    batches = shared.batches(1, 2)
    next(batches)
    assert_same(shared.batches(2, 5), expected[5:])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_clip_that_breaks_is_named_whoever_reads_it(tmp_path: Path, clips: list[Clip], num_workers: int) -> None:
    (tmp_path / clips[3].path).write_bytes(b"no video")
    with pytest.raises(DecodeFailed) as caught:
        list(source(tmp_path, clips, num_workers, cache_bytes=0).batches(1, 0))
    assert (caught.value.clip, caught.value.frame) == (tmp_path / clips[3].path, 0)
    assert str(caught.value).startswith(f"{tmp_path / clips[3].path}: frame 0: Invalid data")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_items_come_one_by_one_until_one_fails(num_workers: int) -> None:
    class Three(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> torch.Tensor:
            if index == 2:
                raise DataError("the third is missing")
            return torch.full((2,), index)

    items = iter(Loader[torch.Tensor](Three(), batch_size=None, num_workers=num_workers))
    assert [next(items).tolist(), next(items).tolist()] == [[0, 0], [1, 1]]
    with pytest.raises(DataError) as caught:
        next(items)
    assert str(caught.value) == "the third is missing"
