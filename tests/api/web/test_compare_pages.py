"""Two experiments on a page: from the form of one to what sets them apart."""

from __future__ import annotations

import re

import pytest

from tests import said

HTML = {"Accept": "text/html"}
CLASSES, LABELS = ("Hop", "<b>Run"), [0, 0, 0, 1, 1, 1]
IDS = [f"Hop/v_g{place:02d}_c01" for place in range(len(LABELS))]


@pytest.fixture
def two(client, database):
    """Two experiments with names that a browser must not read as tags."""
    return [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, ids=IDS, split=split, seed=seed),
            **{**head, "name": f"<b>{head['name']}"},
        )
        for ranks, head in zip(([0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]), said.heads(8, 16), strict=True)
    ]


def read(client, path, status=200, **query):
    answer = client.get(path, params=query, headers=HTML)
    assert answer.status_code == status, answer.text
    assert "<b>" not in answer.text
    return answer.text


def words_of(text, heading):
    [section] = re.findall(rf'<section aria-labelledby="{heading}">(.*?)</section>', text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", section).split())


def test_what_sets_two_apart_is_on_one_page(client, two):
    left, right = two
    text = read(client, "/compare", left=left, right=right)
    assert f'name="left" value="{left}"' in text
    assert "rgb, split 1" in text
    assert "Difference -16.7 , 95 % interval" in words_of(text, "accuracy")
    assert "p = 1 . The left one alone gets 2 clips right, the right one alone 1, of 6" in words_of(text, "test")
    assert "At least one right (oracle), % 100.0" in words_of(text, "test")
    assert "model.hidden [8] [16]" in words_of(text, "spec")
    assert "Hop 3 66.7 100.0 +33.3" in words_of(text, "gaining")
    assert "&lt;b&gt;Run 3 100.0 33.3 -66.7" in words_of(text, "losing")
    assert "1 of 1" in words_of(text, "right-only")
    assert IDS[2] in words_of(text, "right-only")
    picture = re.search(r'<img src="([^"]*)"', text)
    assert client.get(picture[1].replace("&amp;", "&")).status_code == 200


def test_the_way_there(client, two):
    left, right = two
    page = read(client, f"/experiments/{right}")
    assert 'action="/compare"' in page
    assert f'name="right" value="{right}"' in page
    board = read(client, "/", dataset="motion_shapes", stream="rgb", split="1")
    [link] = re.findall(r'href="(/compare[^"]*)"', board)
    assert f"left={left}" in link
    read(client, link.replace("&amp;", "&"))


def test_without_two_ids_there_is_a_form(shared):
    assert "Two ids" in read(shared, "/compare")
    half = read(shared, "/compare", right="<b>x")
    assert 'name="right" value="&lt;b&gt;x"' in half


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"left": "<b>", "right": "exp_1"}, 404, "no experiment named"),
        ({"left": "exp_1", "right": "exp_2", "split": "4"}, 422, "split"),
        ({"left": "exp_1", "right": "exp_2", "clips": "4"}, 422, "clips"),
    ],
)
def test_what_cannot_be_compared_is_a_page_that_says_why(shared, query, status, words):
    assert words in read(shared, "/compare", status, **query)


def test_a_stream_that_one_lacks_is_refused(client, two):
    assert "a stream that left has: rgb" in read(client, "/compare", 422, left=two[0], right=two[1], stream="flow")
