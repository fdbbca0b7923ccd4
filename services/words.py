"""Counts in words: `1 slot`, `2 slots`, `1 class`, `3 entries`."""

from __future__ import annotations

VOWELS = "aeiou"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, which is given in the singular."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if noun.endswith("y") and noun[-2] not in VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
