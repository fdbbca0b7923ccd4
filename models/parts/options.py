"""The types of networks' options, which say what values are allowed, and the check of a value against its type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


@dataclass(frozen=True)
class Limit:
    """Which values of a type are allowed.

    Attributes:
        allowed: in words, for a message.
        holds: whether a value of the type is one of them.
    """

    allowed: str
    holds: Callable[[Any], bool]


Count = Annotated[int, Limit("a whole number from 1", lambda number: number >= 1)]
OddCount = Annotated[int, Limit("an odd number from 1", lambda number: number >= 1 and number % 2 == 1)]
Counts = Annotated[Sequence[Count], Limit("a sequence of one or more whole numbers from 1", len)]
Share = Annotated[float, Limit("a number from 0 and below 1", lambda number: 0 <= number < 1)]
Momentum = Annotated[float, Limit("a number from 0 to 1", lambda number: 0 <= number <= 1)]
Hidden = Count | Counts
"""Width of the state of a recurrence, or a sequence with that of each of its stacked layers."""


NUMBERS: Mapping[object, type] = {int: Integral, float: Real}


def widths_of(hidden: Hidden) -> tuple[int, ...]:
    """Return the width of each layer."""
    return tuple(hidden) if isinstance(hidden, Sequence) else (hidden,)


def one_width(hidden: Hidden) -> int:
    """Return the width of a recurrence of one layer.

    Raises:
        ValueError: if several are given.
    """
    widths = widths_of(hidden)
    if len(widths) != 1:
        raise ValueError(f"hidden: got {hidden}, allowed: one width, since the network has one layer")
    return widths[0]


def require(name: str, value: object, form: Any) -> None:
    """Check the value of an option.

    Args:
        name: of the option.
        value: what is given.
        form: its type: a class, a ``Literal``, a sequence or union of such, with a ``Limit`` where it is ``Annotated``.

    Raises:
        ValueError: if the value is not of that type, or beyond its limit.
    """
    if not _fits(value, form):
        raise ValueError(f"{name}: got {value!r}, allowed: {_in_words(form)}")


def _fits(value: Any, form: Any) -> bool:
    origin, parts = get_origin(form), get_args(form)
    if origin is Annotated:
        base, limit = parts
        return _fits(value, base) and bool(limit.holds(value))
    if origin in {Union, UnionType}:
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is Sequence:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(_fits(each, *parts) for each in value)
    if form in NUMBERS and isinstance(value, bool):
        return False
    return isinstance(value, NUMBERS.get(form, form))


def _in_words(form: Any) -> str:
    origin, parts = get_origin(form), get_args(form)
    if origin is Annotated:
        return str(parts[1].allowed)
    if origin in {Union, UnionType}:
        return " or ".join(_in_words(part) for part in parts)
    if origin is Literal:
        return " or ".join(repr(part) for part in parts)
    if origin is Sequence:
        return f"a sequence, each {_in_words(parts[0])}"
    return {bool: "True or False", NoneType: "None"}.get(form) or f"a {form.__name__}"
