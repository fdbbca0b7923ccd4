"""Two to five experiments on a page: from what is ticked to what sets them apart."""

from __future__ import annotations

import html
import re

import pytest

from tests import said

HTML = {"Accept": "text/html"}
CLASSES, LABELS = ("Hop", "<b>Run"), [0, 0, 0, 1, 1, 1]
RANKS = ([0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 0, 0])
IDS = [f"Hop/v_g{place:02d}_c01" for place in range(len(LABELS))]


@pytest.fixture
def three(client, database):
    """Three experiments with names that a browser must not read as tags."""
    return [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, ids=IDS, split=split, seed=seed),
            **{**head, "name": f"<b>{head['name']}"},
        )
        for ranks, head in zip(RANKS, said.heads(8, 16, 32), strict=True)
    ]


@pytest.fixture
def two(three):
    return three[:2]


def read(client, path, status=200, **query):
    answer = client.get(path, params=query or None, headers=HTML)
    assert answer.status_code == status, answer.text
    assert "<b>" not in answer.text
    return answer.text


def words_of(text, heading):
    [section] = re.findall(rf'<section aria-labelledby="{heading}">(.*?)</section>', text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", section).split())


def test_what_sets_two_apart_is_on_one_page(client, two):
    left, right = two
    text = read(client, "/compare", left=left, right=right)
    assert f'name="experiment" value="{left}"' in text
    assert "rgb, split 1" in text
    assert "Difference -16.7 , 95 % interval" in words_of(text, "accuracy")
    assert (
        "p = 1 : it does not tell them apart at 5 %. The left one alone gets 2 clips right, the right one alone 1, of 6"
        in words_of(text, "test")
    )
    assert "At least one right (oracle), % 100.0" in words_of(text, "test")
    assert "model.hidden [8] [16]" in words_of(text, "spec")
    assert "Hop 3 66.7 100.0 +33.3" in words_of(text, "gaining")
    assert "&lt;b&gt;Run 3 100.0 33.3 -66.7" in words_of(text, "losing")
    assert "1 of 1" in words_of(text, "right-only")
    assert IDS[2] in words_of(text, "right-only")
    pictures = re.findall(r'<img src="([^"]*)"', text)
    assert ["gain" in picture for picture in pictures] == [True, False]
    for picture in pictures:
        assert client.get(html.unescape(picture)).status_code == 200


def test_the_way_there(client, two):
    left, right = two
    page = read(client, f"/experiments/{right}")
    assert 'action="/compare"' in page
    assert f'name="right" value="{right}"' in page
    board = read(client, "/", dataset="motion_shapes", stream="rgb", split="1")
    link, _ = re.findall(r'href="(/compare[^"]*)"', board)
    assert f"left={left}" in link
    read(client, html.unescape(link))


def test_what_is_ticked_on_a_list_or_a_board_is_compared(client, three):
    for page in (read(client, "/experiments"), read(client, "/", dataset="motion_shapes", stream="rgb", split="1")):
        assert sorted(re.findall(r'name="experiment" value="(exp_[^"]*)" form="ticked"', page)) == sorted(three)
        assert '<form id="ticked" class="plain" method="get" action="/compare">' in page
    text = read(client, "/compare", experiment=three, stream="rgb", split="1")
    for id_ in three:
        assert f'name="experiment" value="{id_}"' in text
    rows = words_of(text, "test")
    for pair in ("A, B -16.7", "A, C -33.3", "B, C -16.7"):
        assert pair in rows
    assert "Holm's method adjusts for 3 pairs" in rows
    assert "model.hidden [8] [16] [32]" in words_of(text, "spec")
    assert "Hop 3 66.7 -33.3 100.0 0.0 -100.0" in words_of(text, "classes")
    assert len(re.findall(r'<img src="[^"]*confusion-difference', text)) == 2
    links = [html.unescape(link) for link in re.findall(r'href="(/compare[^"]*)"', text)]
    assert len(links) == 3
    assert "McNemar" in read(client, links[0])


def test_commas_and_both_ways_of_naming_are_one(client, three):
    left, right, other = three
    assert read(client, "/compare", experiment=f" {left}, {right}") == read(client, "/compare", left=left, right=right)
    assert "A, C" in read(client, "/compare", left=left, right=right, experiment=[other, left])


def test_without_two_ids_there_is_a_form(shared):
    assert "Two to five" in read(shared, "/compare")
    half = read(shared, "/compare", right="<b>x")
    assert 'name="experiment" value="&lt;b&gt;x"' in half


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"left": "<b>", "right": "exp_1"}, 404, "no experiment named"),
        ({"left": "exp_1", "right": "exp_2", "split": "4"}, 422, "split"),
        ({"left": "exp_1", "right": "exp_2", "clips": "4"}, 422, "clips"),
        ({"experiment": [f"exp_{n}" for n in range(6)]}, 422, "2 to 5 at once"),
        ({"experiment": ["exp_1", "exp_2", "exp_3"]}, 404, "no experiment named"),
        ({"experiment": ["exp_1", "exp_2"], "split": ["1", "2"]}, 422, "given more than once"),
    ],
)
def test_what_cannot_be_compared_is_a_page_that_says_why(shared, query, status, words):
    assert words in read(shared, "/compare", status, **query)


def test_a_stream_that_one_lacks_is_refused(client, two):
    assert "a stream that left has: rgb" in read(client, "/compare", 422, left=two[0], right=two[1], stream="flow")
