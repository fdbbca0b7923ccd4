"""What stages left on disk."""

from __future__ import annotations

import json

import pytest


def test_the_cache_is_listed_and_collected(twostream):
    assert twostream("cache", "list") == (0, "cache: empty\ntotal: 0 B\n", "")
    code, out, _ = twostream("cache", "gc", "--max-size", "1.5GB", "--kind", "flow", "--kind", "features", "--dry-run")
    assert (code, out) == (0, "would be dropped: nothing\n0 B before, 0 B would stay, allowed: 1.50 GB\n")
    report = json.loads(twostream("cache", "gc", "--max-size", "0", "--json")[1])
    assert (report["taken"], report["more"], report["dry_run"]) == ([], False, False)
    assert json.loads(twostream("cache", "list", "--kind", "flow", "--json")[1])["entries"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gc", "--max-size", "lots"], "max_size: got 'lots', allowed: a number of bytes, or a text such as 200GB"),
        (["gc", "--max-size", "1GB", "--kind", "films"], "kinds.0: got 'films', allowed: "),
        (["list", "--kind", "films"], "kind: got 'films', allowed: "),
        (["gc"], "--max-size"),
    ],
)
def test_a_wrong_size_or_kind_exits_with_2_and_says_what_is_allowed(twostream, arguments, words):
    code, _, err = twostream("cache", *arguments)
    assert (code, words in err) == (2, True)
