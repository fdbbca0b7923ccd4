"""Counts and times in words: `1 slot`, `2 slots`, `1 class has`, `3 entries have`, `about 5 min`, `2 to 3 h`."""

from __future__ import annotations

VOWELS = "aeiou"
MOMENT = 5.0
"""Seconds that are not counted."""
NEARLY = 1.15
"""From the end of a range to its beginning: closer ones are written as one."""


def counted(number: int, noun: str, one: str = "", many: str = "") -> str:
    """Write a number with its noun, which is given in the singular, and with the verb that goes with it, if any."""
    words, verb = (noun, one) if number == 1 else (plural(noun), many)
    return f"{number} {words} {verb}".rstrip()


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "sh")) else f"{noun}s"


def lasting(seconds: float) -> str:
    """Write about how long something takes, as people say it: 40 s, 12 min, 3.5 h, 2.1 d."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 3570:
        return f"{max(1, round(seconds / 60))} min"
    if seconds < 86400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} d"


def about(low: float, high: float | None) -> str:
    """Write a range of seconds, of which the upper end may be unknown."""
    if high is None:
        return f"at least {lasting(low)}" if low > 0 else "unknown"
    if high < MOMENT:
        return "a moment"
    first, last = lasting(low), lasting(high)
    if first == last or high <= NEARLY * low:
        return f"about {last}"
    return f"{first.split()[0] if first.split()[1] == last.split()[1] else first} to {last}"
