"""Which protocol a board ranks, without a database."""

from __future__ import annotations

from services.board.choice import Count, choose, chosen_on_test
from services.board.protocol import EnsembleProtocol

LAST, ON_TEST = {"frames": 25, "selection": "last"}, {"frames": 25, "selection": "test"}


def count(fields: dict[str, object], entries: int) -> Count:
    name = str(fields)
    return Count(1, name, name, entries, 0, fields)


def test_an_ensemble_is_chosen_on_the_test_list_where_a_member_is() -> None:
    honest = EnsembleProtocol.of("probabilities", [(1, LAST), (2, {"uploaded": True})])
    mixed = EnsembleProtocol.of("probabilities", [(1, LAST), (2, ON_TEST)])
    nested = EnsembleProtocol.of("product", [(1, mixed.fields), (1, LAST)])
    assert [chosen_on_test(found.fields) for found in (honest, mixed, nested)] == [False, True, True]


def test_the_most_used_protocol_is_ranked_unless_it_was_chosen_on_the_test_list() -> None:
    counts = [count(ON_TEST, 5), count(LAST, 2)]
    assert choose(counts, None, "exclude") == counts[1]
    flagged = choose(counts, None, "flag")
    assert flagged is not None
    assert (flagged.line, flagged.entries, flagged.protocols) == (str(LAST), 7, (str(LAST), str(ON_TEST)))
    assert choose(counts, str(ON_TEST), "exclude") == counts[0]
    assert choose(counts[:1], None, "exclude") is None
