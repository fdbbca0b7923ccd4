"""How fast a running stage gets on: marks of how far it was when, and what is left by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]
MOST_MARKS = 16
"""Of one attempt, however long it runs."""
LEAST_KNOWN = 30.0
"""Seconds at the least that say something without an upper end."""
LEAST_SECONDS = 2.0
"""Between the first mark and the last: in less nobody sees how fast a stage is."""


class Span(NamedTuple):
    """About how many seconds something takes: at the least, and at the most, None where nobody can say that."""

    low: float
    high: float | None

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return self.low >= LEAST_KNOWN or self.high is not None


def marked(progress: Mapping[str, Any], before: Mapping[str, Any] | None, at: float) -> Json:
    """Return the progress of a stage with the marks of the attempt so far.

    Args:
        progress: ``done`` of ``total`` in a ``unit``.
        before: what this function returned last for the attempt; None at its beginning.
        at: time, in seconds of a clock that is the same for all marks.
    """
    marks = list(before.get("marks", ())) if before is not None and _goes_on(before, progress) else []
    mark = [round(at, 2), progress["done"]]
    if len(marks) > 1 and at - marks[-2][0] < (at - marks[0][0]) * 2 / MOST_MARKS:
        marks[-1] = mark
    else:
        marks.append(mark)
    if len(marks) > MOST_MARKS:
        del marks[1]
    return {**progress, "marks": marks}


def left(progress: Mapping[str, Any] | None, now: float) -> Span | None:
    """Return what is left of a stage, by its pace since the attempt began and by that of the last half of the time.

    A stage that is silent since its last mark may be slower than it was: the upper bound grows with its silence.

    Args:
        progress: what ``marked`` returned.
        now: time by the clock of the marks.

    Returns:
        None where its progress does not say it.
    """
    marks: Sequence[Sequence[float]] = progress.get("marks", ()) if progress else ()
    if progress is None or not marks:
        return None
    (began_at, _), (last_at, done) = marks[0], marks[-1]
    rest = progress["total"] - done
    if rest <= 0:
        return Span(0.0, 0.0)
    half = next((mark for mark in marks[:-1] if mark[0] >= (began_at + last_at) / 2), marks[0])
    windows = [(at, done - before) for at, before in (marks[0], half) if done > before]
    if not windows or last_at - began_at < LEAST_SECONDS:
        return None
    silent = max(0.0, now - last_at)
    low = min(rest * (last_at - at) / units for at, units in windows) - silent
    high = max(rest * (last_at + silent - at) / units for at, units in windows)
    return Span(max(0.0, low), high)


def _goes_on(before: Mapping[str, Any], progress: Mapping[str, Any]) -> bool:
    """Whether progress counts the same things as before, and did not begin anew."""
    alike = all(before.get(name) == progress.get(name) for name in ("total", "unit"))
    return alike and before["done"] <= progress["done"]
