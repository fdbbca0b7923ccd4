"""Which protocol a board ranks, without a database."""

from __future__ import annotations

from services.board.choice import Count, SelectedOnTest, choose, chosen_on_test, value_of
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
    assert choose(counts, None, "exclude") == (counts[1], ())
    flagged = choose(counts, None, "flag")
    assert flagged is not None
    assert (flagged.own.line, flagged.complete, list(flagged.counts)) == (str(LAST), 7, [str(LAST), str(ON_TEST)])
    assert choose(counts, str(ON_TEST), "exclude") == (counts[0], ())
    assert choose(counts[:1], None, "exclude") is None


FEW, OTHER_CROPS = {**LAST, "frames": 10}, {**LAST, "crops": "ten"}
TEN, ONE = ({**LAST, "flow": {"stack": stack, "method": "tvl1"}} for stack in (10, 1))


def test_what_differs_in_a_field_that_may_vary_alone_is_ranked_beside() -> None:
    counts = [count(fields, 1) for fields in (LAST, FEW, OTHER_CROPS, {**FEW, "selection": "test"}, TEN, ONE)]

    def beside(protocol: dict[str, object], *vary: str, selected: SelectedOnTest = "exclude") -> list[str]:
        found = choose(counts, str(protocol), selected, vary)
        assert found is not None
        return [other.line for other in found.others]

    assert beside(LAST) == []
    assert beside(LAST, "frames") == [str(FEW)]
    assert beside(LAST, "frames", "crops") == [str(FEW), str(OTHER_CROPS)]
    assert beside(LAST, "frames", selected="flag") == [str(FEW), str({**FEW, "selection": "test"})]
    assert beside(LAST, "frames", "selection") == [str(FEW)]  # still none that was chosen on the test list
    assert beside(TEN, "flow.stack") == [str(ONE)]
    assert beside(TEN, "flow.bound") == []
    assert beside(ONE, "flow", "crops") == [str(LAST), str(OTHER_CROPS), str(TEN)]
    assert [value_of(TEN, name) for name in ("flow.stack", "flow.bound", "frames", "snippet.x")] == [10, None, 25, None]
