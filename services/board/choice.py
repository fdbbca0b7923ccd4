"""Which of the protocols that there are entries of a board ranks, and which beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

SelectedOnTest = Literal["exclude", "flag"]


def chosen_on_test(fields: Mapping[str, Any]) -> bool:
    """Say of a protocol's fields whether epochs were chosen on the test list, of an ensemble those of any member."""
    members = fields.get("ensemble", {}).get("members", ())
    return fields.get("selection") == "test" or any(chosen_on_test(member["protocol"]) for member in members)


class Count(NamedTuple):
    """How many entries, with and without a value, a revision has under a protocol."""

    revision: int
    protocol: str
    line: str
    complete: int
    incomplete: int
    fields: Mapping[str, Any]

    @property
    def on_test(self) -> bool:
        """Whether epochs were chosen on the test list."""
        return chosen_on_test(self.fields)

    @property
    def entries(self) -> int:
        """All of them."""
        return self.complete + self.incomplete


class Ranked(NamedTuple):
    """What a board ranks: a protocol, and those that are ranked beside it."""

    own: Count
    others: tuple[Count, ...] = ()

    @property
    def counts(self) -> dict[str, Count]:
        """All of them, by digest."""
        return {count.protocol: count for count in (self.own, *self.others)}

    @property
    def complete(self) -> int:
        """How many entries have a value."""
        return sum(count.complete for count in self.counts.values())

    @property
    def incomplete(self) -> int:
        """How many have none."""
        return sum(count.incomplete for count in self.counts.values())


def choose(
    counts: Sequence[Count], protocol: str | None, selected_on_test: SelectedOnTest, vary: Collection[str] = ()
) -> Ranked | None:
    """Return what is ranked, or None where there is no such protocol.

    Args:
        counts: of the board, in the order in which they are tried.
        protocol: line, or beginning of the digest, of the one that is asked for; the first one if None.
        selected_on_test: `flag` ranks beside it what differs in the choice of the epoch on the test list alone;
            `exclude` ranks no such entry, unless it is asked for by ``protocol``.
        vary: fields, dotted below a part, in which others may differ that are ranked beside it.
    """
    if protocol is not None:
        own = next((count for count in counts if count.line == protocol), None)
        own = own or next((count for count in counts if count.protocol.startswith(protocol)), None)
    else:
        asked = counts if selected_on_test == "flag" else [count for count in counts if not count.on_test]
        own = min(asked, key=lambda count: count.on_test, default=None)
    if own is None:
        return None
    wanted = [_without(own.fields, vary)] if vary else []
    if selected_on_test == "flag" and not own.on_test:
        wanted.append(_without({**own.fields, "selection": "test"}, vary))
    shown = [count for count in counts if not count.on_test or own.on_test or selected_on_test == "flag"]
    return Ranked(own, tuple(c for c in shown if c is not own and _without(c.fields, vary) in wanted))


def value_of(fields: Mapping[str, Any], name: str) -> Any:
    """Return a field of a protocol, by its dotted name; None where the protocol does not say it."""
    found: Any = fields
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return a protocol's fields but some."""
    left = {name: value for name, value in fields.items() if name not in names}
    for name in names:
        part, _, below = name.partition(".")
        if below and isinstance(left.get(part), Mapping):
            left[part] = _without(left[part], [below])
    return left
