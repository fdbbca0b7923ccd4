"""Every sample once in an epoch, in an order that seed and epoch alone decide."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.training.batches import DatasetSource, TensorSource, epoch_batches
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


class Drawn:
    """Ten samples whose values tell the epoch and the index."""

    def __init__(self) -> None:
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(self._epoch), float(index)]), index

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_gives_the_same_batches_with_and_without_loader_processes(num_workers: int) -> None:
    source = DatasetSource(Drawn(), 4, 5, World(), num_workers=num_workers)
    assert source.steps == 3
    for epoch, first_step in ((1, 0), (2, 1)):
        batches = list(source.batches(epoch, first_step))
        expected = list(tensor_source().batches(epoch, first_step))
        for batch, own in zip(batches, expected, strict=True):
            assert torch.equal(batch.labels, own.labels)
            assert torch.equal(batch.inputs[:, 1:], own.inputs)
            assert batch.inputs[:, 0].tolist() == [epoch] * len(own.labels)
