"""Counts with their nouns and verbs."""

from __future__ import annotations

import pytest

from services.words import counted


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((0, "clip"), "0 clips"),
        ((1, "clip"), "1 clip"),
        ((2, "listed clip"), "2 listed clips"),
        ((1, "class", "has", "have"), "1 class has"),
        ((2, "class", "has", "have"), "2 classes have"),
        ((3, "entry"), "3 entries"),
        ((3, "day"), "3 days"),
        ((2, "epoch"), "2 epochs"),
        ((-1, "box"), "-1 boxes"),
    ],
)
def test_a_noun_follows_its_number(asked, words):
    assert counted(*asked) == words
