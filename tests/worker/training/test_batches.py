"""Every sample once in an epoch, in an order that seed and epoch alone decide."""

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.training.batches import DatasetSource, FeatureSource, TensorSource, epoch_batches
from worker.training.distributed import World

COUNTS = st.integers(min_value=2, max_value=200)


@given(COUNTS, st.integers(1, 64), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
def test_an_epoch_holds_every_sample_once(count: int, size: int, seed: int, epoch: int, world_size: int) -> None:
    batches = epoch_batches(count, size, seed, epoch, world_size)
    assert sorted(chain.from_iterable(batch.tolist() for batch in batches)) == list(range(count))
    again = epoch_batches(count, size, seed, epoch, world_size)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


@given(st.integers(8, 200), st.integers(8, 64), st.integers(1, 4))
def test_every_process_gets_two_samples_of_every_batch(count: int, size: int, world_size: int) -> None:
    for batch in epoch_batches(count, size, 0, 1, world_size):
        shares = [World(rank, world_size).share(batch) for rank in range(world_size)]
        assert min(map(len, shares)) >= 2
        assert sorted(np.concatenate(shares)) == sorted(batch)


def test_order_differs_by_seed_and_epoch() -> None:
    orders = {tuple(epoch_batches(30, 30, seed, epoch)[0]) for seed in range(3) for epoch in (1, 2, 3)}
    assert len(orders) == 9


def test_a_single_last_sample_joins_the_batch_before() -> None:
    assert [len(batch) for batch in epoch_batches(9, 4, 0, 1)] == [4, 5]
    assert [len(batch) for batch in epoch_batches(10, 4, 0, 1)] == [4, 4, 2]


def tensor_source() -> TensorSource:
    return TensorSource(torch.arange(10.0)[:, None], torch.arange(10), 4, 5, World())


def test_an_epoch_goes_on_from_a_step() -> None:
    source = tensor_source()
    whole, rest = list(source.batches(2, 0)), list(source.batches(2, 1))
    assert len(whole) == source.steps == 3
    for one, other in zip(whole[1:], rest, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert one.size == len(other.labels)


class Stored:
    """Ten clips of 3 to 12 steps, whose features tell clip and step."""

    lengths = np.arange(3, 13)

    def take(self, clips: np.ndarray, steps: np.ndarray | None = None) -> dict[str, Tensor]:
        steps = np.tile(np.arange(3), (len(clips), 1)) if steps is None else steps
        return {"rgb": torch.from_numpy(clips[:, None] * 100 + steps)}


def draw(length: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(length - 2) + np.arange(3)


def feature_source(world: World = World(), *, choose: bool = True) -> FeatureSource:  # noqa: B008
    return FeatureSource(Stored(), torch.arange(10), 4, 5, world, choose=draw if choose else None)


def test_features_on_disk_come_in_the_order_of_those_in_memory() -> None:
    ours, memory = feature_source(choose=False), tensor_source()
    assert ours.steps == memory.steps
    for one, other in zip(ours.batches(2, 0), memory.batches(2, 0), strict=True):
        assert torch.equal(one.labels, other.labels)
        assert isinstance(one.inputs, dict)
        assert torch.equal(one.inputs["rgb"][:, 0], one.labels * 100)
        assert one.size == other.size


def test_snippets_depend_on_seed_epoch_and_clip_alone() -> None:
    def seen(batches: Any) -> dict[int, list[int]]:
        return {
            int(label): row.tolist()
            for batch in batches
            for label, row in zip(batch.labels, batch.inputs["rgb"], strict=True)
        }

    whole = seen(feature_source().batches(2, 0))
    assert all(row[0] // 100 == clip and np.diff(row).tolist() == [1, 1] for clip, row in whole.items())
    rest = seen(feature_source().batches(2, 1))
    assert rest.items() <= whole.items()
    assert len(rest) == 6
    halves = [seen(feature_source(World(rank, 2)).batches(2, 0)) for rank in (0, 1)]
    assert halves[0] | halves[1] == whole
    assert seen(feature_source().batches(3, 0)) != whole
    other = FeatureSource(Stored(), torch.arange(10), 4, 6, World(), choose=draw)
    assert seen(other.batches(2, 0)) != whole


def test_clips_of_equal_length_have_snippets_of_their_own() -> None:
    stored = Stored()
    stored.lengths = np.full(10, 12)
    source = FeatureSource(stored, torch.arange(10), 4, 5, World(), choose=draw)
    places = {int(row[0]) % 100 for batch in source.batches(1, 0) for row in batch.inputs["rgb"]}
    assert len(places) > 3


def test_a_reader_that_fails_is_heard() -> None:
    stored = Stored()
    stored.lengths = np.array([3])
    source = FeatureSource(stored, torch.arange(10), 4, 5, World(), choose=draw)
    with pytest.raises(IndexError):
        list(source.batches(1, 0))


class Drawn:
    """Ten samples whose bytes tell the epoch and the index, and whose changes are the index again."""

    def __init__(self) -> None:
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        return torch.tensor([int(self._epoch), index], dtype=torch.uint8), torch.tensor([float(index)]), index

    def finish(self, frames: Tensor, colours: Tensor, out: Tensor) -> Tensor:
        assert torch.equal(frames[:, 1:], colours)
        return out.copy_(frames)

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_gives_the_same_batches_with_and_without_loader_processes(num_workers: int) -> None:
    source = DatasetSource(Drawn(), 4, 5, World(), device=torch.device("cpu"), num_workers=num_workers)
    assert source.steps == 3
    for epoch, first_step in ((1, 0), (2, 1)):
        expected = list(tensor_source().batches(epoch, first_step))
        for batch, own in zip(source.batches(epoch, first_step), expected, strict=True):
            assert torch.equal(batch.labels, own.labels)
            assert torch.equal(batch.inputs[:, 1:], own.inputs)
            assert batch.inputs[:, 0].tolist() == [epoch] * len(own.labels)
