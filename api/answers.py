"""Answers that are kept as long as what they say is true: each is made once for a version, however many ask."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

EARLY_SECONDS = 0.5
"""By which who comes back may be early: their clocks and ours differ, and the way takes time."""

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

    def there(self, key: str) -> T | None:
        """Return the answer of a key that is made already."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
        return None if kept is None else kept.answer


class Recent(Generic[T]):
    """What was noted last, by keys.

    Args:
        most: that are kept, those looked up last.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._noted: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """Return what was noted under a key."""
        with self._lock:
            if key in self._noted:
                self._noted.move_to_end(key)
            return self._noted.get(key)

    def note(self, key: Hashable, value: T) -> None:
        """Keep a value."""
        with self._lock:
            self._noted[key] = value
            self._noted.move_to_end(key)
            if len(self._noted) > self._most:
                self._noted.popitem(last=False)


class Alike(Generic[S, T]):
    """What was made of objects, for as long as they are the same objects; equal ones are not told.

    Args:
        most: that are kept, those looked up last.
    """

    def __init__(self, most: int) -> None:
        self._made: Recent[tuple[S, T]] = Recent(most)

    def get(self, of: S, make: Callable[[S], T]) -> T:
        """Return what is made of an object."""
        found = self._made.get(id(of))
        if found is None or found[0] is not of:  # an object that is gone leaves its number to another
            found = of, make(of)
            self._made.note(id(of), found)
        return found[1]


@dataclass
class _Moment(Generic[T]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float = -math.inf
    position: int = -1
    answer: T | None = None


class Briefly(Generic[T]):
    """Answers that will do for some seconds for whoever knows of nothing that came after them.

    Args:
        seconds: at the most so old is an answer.
        most: answers that are kept, those asked for last.
    """

    def __init__(self, seconds: float, most: int = 32) -> None:
        self._seconds, self._most = seconds, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Moment[T]] = OrderedDict()

    def get(self, key: str, position: int, make: Callable[[], tuple[int, T]]) -> T:
        """Return the answer of a key, as of now or of a moment ago; an error is not kept.

        Args:
            key: of the answer.
            position: of the last thing that the asker has heard of, which the answer is to hold.
            make: returns the answer, and a position before which it holds everything.
        """
        kept = self._moment(key)
        with kept.lock:
            now = time.monotonic()
            if kept.answer is None or kept.position < position or kept.made_at <= now - self._seconds:
                kept.position, kept.answer = make()
                kept.made_at = now
            return kept.answer

    def due(self, key: str, position: int, seconds: float, make: Callable[[], tuple[int, T]]) -> tuple[T | None, float]:
        """Return the answer of a key that holds a position, and the seconds until one may be made anew.

        All who ask for it come back at one time, and share what the first of them has made.

        Args:
            key: of the answer.
            position: of the last thing that the asker has heard of; the answer is None if that came since.
            seconds: between two that are made.
            make: likewise.
        """
        kept = self._moment(key)
        with kept.lock:
            now = time.monotonic()
            if kept.answer is None or kept.made_at <= now - seconds + EARLY_SECONDS:
                kept.position, kept.answer = make()
                kept.made_at = now
            left = max(EARLY_SECONDS, kept.made_at + seconds - now)
            return (kept.answer if kept.position >= position else None), left

    def _moment(self, key: str) -> _Moment[T]:
        with self._lock:
            kept = self._kept.setdefault(key, _Moment())
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept
