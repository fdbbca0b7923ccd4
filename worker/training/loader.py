"""PyTorch's DataLoader, out of whose processes an error of a stage comes as what it is.

By itself it words whatever fails in a loader process as a RuntimeError, so that a clip that does not decode would count
as a fault of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, Generic, Protocol, TypeVar, cast

from torch.utils.data import DataLoader, Dataset, default_collate, default_convert

from services.errors import StageError
from worker.training import sockets

Item_co = TypeVar("Item_co", covariant=True)


class Items(Sized, Protocol[Item_co]):
    """A dataset: items by their numbers."""

    def __getitem__(self, index: int) -> Item_co:
        """Return an item."""
        ...


class Loader(Generic[Item_co]):
    """Reads the items of a dataset, one by one or in batches, in this process or in loader processes.

    Args:
        dataset: what is read.
        options: of the DataLoader; with ``batch_size=None`` items come one by one.
    """

    def __init__(self, dataset: Items[Item_co], **options: Any) -> None:
        collate = _convert if options.get("batch_size", 1) is None else _collate
        if options.get("num_workers"):
            sockets.give_room()
        self._loader: DataLoader[Any] = DataLoader(_Guarded(dataset), collate_fn=collate, **options)

    def __iter__(self) -> Iterator[Item_co]:
        """Yield items or batches.

        Raises:
            StageError: from the dataset, also where that happened in a loader process.
        """
        for found in self._loader:
            if isinstance(found, _Failure):
                raise found.error
            yield cast("Item_co", found)


class _Failure:
    """An error on its way out of a loader process, in place of an item."""

    def __init__(self, error: StageError) -> None:
        self.error = error


class _Guarded(Dataset[Any]):
    def __init__(self, items: Items[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        try:
            return self._items[index]
        except StageError as error:
            return _Failure(error)


def _collate(items: list[Any]) -> Any:
    failures = [item for item in items if isinstance(item, _Failure)]
    return failures[0] if failures else default_collate(items)


def _convert(item: Any) -> Any:
    return item if isinstance(item, _Failure) else default_convert(item)  # type: ignore[no-untyped-call]
