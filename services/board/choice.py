"""Which of the protocols that there are entries of a board ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    also: str | None = None
    """Digest of the protocol that differs in a choice on the test list, where it is ranked along."""

    @property
    def on_test(self) -> bool:
        """Whether epochs were chosen on the test list."""
        return chosen_on_test(self.fields)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Digests of what is ranked together."""
        return (self.protocol,) if self.also is None else (self.protocol, self.also)

    def is_on_test(self, protocol: str) -> bool:
        """Say whether entries of one of these protocols were chosen on the test list."""
        return protocol == self.also or self.on_test

    @property
    def entries(self) -> int:
        """All of them."""
        return self.complete + self.incomplete


def choose(counts: Sequence[Count], protocol: str | None, selected_on_test: SelectedOnTest) -> Count | None:
    """Return what is ranked: the protocol of a line, or the first, and with `flag` what differs in the choice alone."""
    if protocol is not None:
        found = next((count for count in counts if count.line == protocol), None)
    else:
        asked = counts if selected_on_test == "flag" else [count for count in counts if not count.on_test]
        found = min(asked, key=lambda count: count.on_test, default=None)
    if found is None or found.on_test or selected_on_test == "exclude":
        return found
    alike = {**found.fields, "selection": "test"}
    other = next((count for count in counts if count.fields == alike), None)
    if other is None:
        return found
    complete, incomplete = found.complete + other.complete, found.incomplete + other.incomplete
    return found._replace(complete=complete, incomplete=incomplete, also=other.protocol)
