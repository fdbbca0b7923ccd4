"""Answers that are kept as long as what they say is true: each is made once for a version, however many ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 256
"""Answers that are kept, those asked for last: a page of the leaderboard has some 60 kB."""


@dataclass
class _Kept(Generic[T]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    answer: T | None = None


class Answers(Generic[T]):
    """What was answered last, by all that it depends on: a version is part of the key."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the answer of a key, made by the first who asks while the others wait; an error is not kept."""
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        with kept.lock:
            if kept.answer is None:
                kept.answer = make()
            return kept.answer
