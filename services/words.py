"""Counts in words: `1 slot`, `2 slots`, `1 class has`, `3 entries have`."""

from __future__ import annotations

VOWELS = "aeiou"


def counted(number: int, noun: str, one: str = "", many: str = "") -> str:
    """Write a number with its noun, which is given in the singular, and with the verb that goes with it, if any."""
    words, verb = (noun, one) if number == 1 else (plural(noun), many)
    return f"{number} {words} {verb}".rstrip()


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "sh")) else f"{noun}s"
