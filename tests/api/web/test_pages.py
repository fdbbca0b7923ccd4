"""The front page: plain HTML that a reader without scripts can use."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest

from api.web.pages import page_size
from services.db.tables import DatasetRow
from tests.api.clients import client_of
from tests.api.conftest import SPEC

HTML = {"Accept": "text/html"}


class Outline(HTMLParser):
    """Collects what a page has, and refuses tags that do not close in order."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.selected: list[str | None] = []
        self.names: list[str | None] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "select":
            self.names.append(found["name"])
        if tag == "option" and "selected" in found:
            self.selected.append(found["value"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_empty_page_tells_what_to_do(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    outline = Outline(answer.text)
    assert "script" not in outline.tags
    assert outline.names == [
        *("dataset", "split", "stream", "metric", "protocol"),
        *("model", "source", "selected_on_test"),
    ]
    assert outline.selected == ["motion_shapes", "mean", "two-stream", "top1", "", "", "", "exclude"]
    assert "No complete result here yet" in answer.text
    assert "twostream demo" in answer.text


def test_page_ranks_and_states_the_protocol(client, submit, worker):
    submit(name="<b>better</b>", splits=[1, 2, 3], seeds=[0, 1])
    worker(0.75).finish_all()
    submit(name="part", splits=[2], model={"kind": "max_pooling"})
    submit(name="elsewhere", splits=[1, 2, 3], evaluation={"frames": 10})
    worker(0.5).finish_all()
    text = client.get("/?dataset=motion_shapes&stream=rgb&protocol=").text
    Outline(text)
    assert "&lt;b&gt;better&lt;/b&gt;" in text
    assert "<b>better" not in text
    assert "75.0" in text
    assert "95 % interval" in text
    assert "25 frames, centre crop" in text
    assert "missing splits 1, 3" in text
    assert "Other protocols" in text
    assert "protocol=10+frames" in text
    assert "Split 3" in text
    assert "succeeded" in text


def test_an_older_revision_and_further_pages_are_linked(client, submit, worker, database):
    client.app.dependency_overrides[page_size] = lambda: 1
    for number in range(3):
        submit(seeds=[number], name=f"system {number}")
    worker(0.5).finish_all()
    query = {"dataset": "motion_shapes", "split": "1", "stream": "rgb"}
    text = client.get("/", params=query).text
    assert "1 of 3 entries" in text
    assert "Lists and clips" not in text
    shown = []
    while True:
        shown += re.findall('system [0-9](?=</a></th>\n        <td class="number value">)', text)
        found = re.search('rel="next" href="([^"]*)"', text)
        if found is None:
            break
        text = client.get(html.unescape(found[1])).text
        Outline(text)
    assert sorted(shown) == ["system 0", "system 1", "system 2"]  # equal ones stand in the order in which they ended
    with database.transaction() as session:
        session.get_one(DatasetRow, "motion_shapes").revision = 2
    text = client.get("/", params=query).text
    assert "No complete result here yet" in text
    assert "Revision 1</a>, 3 entries" in text
    older = client.get("/", params=query | {"revision": "1"})
    assert "<strong>Superseded:</strong>" in older.text
    assert Outline(older.text).selected[-1] == "1"


def test_times_are_in_utc_whatever_zone_the_database_has(settings):
    there = {"database_url": f"{settings.database_url}?options=-c%20TimeZone%3DAsia/Kathmandu"}
    with client_of(settings.model_copy(update=there)) as client:
        assert client.post("/experiments", json=SPEC).status_code == 202
        for path in ("/", "/experiments", "/datasets", "/datasets/motion_shapes"):
            found = re.findall(r'<time datetime="([^"]*)">([^<]*)</time>', client.get(path, headers=HTML).text)
            assert found != [], path
            for moment, words in found:
                assert (moment[-6:], words) == ("+00:00", moment[:16].replace("T", " ")), path


def test_choice_is_kept(client, submit, worker):
    submit()
    worker().finish_all()
    answer = client.get("/", params={"dataset": "motion_shapes", "split": "1", "stream": "rgb", "metric": "mean_class"})
    assert Outline(answer.text).selected[:5] == ["motion_shapes", "1", "rgb", "mean_class", ""]
    assert "Mean class accuracy" in answer.text


def test_entries_are_left_out_by_the_form_and_the_board_is_there_as_files(client, submit, worker):
    submit(name="one seed")
    submit(name="two seeds", seeds=[0, 1], model={"kind": "lstm"})
    submit(name="peeked", seeds=[5], training={"selection": "test"})
    worker(0.5).finish_all()
    query = {"dataset": "motion_shapes", "split": "1", "stream": "rgb"}
    for more, names in (
        ({}, ["one seed", "two seeds"]),
        ({"seeds": "2"}, ["two seeds"]),
        ({"model": "lstm"}, ["two seeds"]),
        ({"model": "", "source": "trained", "seeds": "1"}, ["one seed", "two seeds"]),
        ({"source": "uploaded"}, []),
        ({"selected_on_test": "flag"}, ["one seed", "two seeds", "peeked"]),
    ):
        text = client.get("/", params=query | more).text
        ranking = text.partition('id="recent"')[0]
        assert [name for name in ("one seed", "two seeds", "peeked") if f">{name}</a>" in ranking] == names, more
        Outline(text)
        links = [html.unescape(link) for link in re.findall(r'href="(/leaderboard[^"]*)"', text)]
        assert len(links) == (4 if names else 0)
        for link in links:
            file = client.get(link)
            assert file.status_code == 200
            assert [name for name in ("one seed", "two seeds", "peeked") if name in file.text] == names, link


@pytest.mark.parametrize(
    "query",
    [
        *("split=4", "stream=x", "metric=x", "protocol=%00", "dataset=%00", "revision=x", "cursor=*"),
        *("model=x", "source=x", "seeds=0", "seeds=1001", "selected_on_test=x", "dataset=x"),
    ],
)
def test_weird_choices_are_422(shared, query):
    assert shared.get(f"/?{query}").status_code == 422


def test_a_refusal_names_values_that_somebody_would_write(shared):
    for path in (
        *("/?source=x", "/experiments?state=x", "/experiments?archived=x", "/experiments/exp_1?stages=x"),
        *("/compare?split=x", "/compare?stream=x"),
    ):
        answer = shared.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 422
        assert re.search(r"allowed: one of \w", answer.text), answer.text


def test_a_revision_that_is_not_there_is_404(shared):
    assert shared.get("/?dataset=motion_shapes&revision=9").status_code == 404


def test_style_sheet(shared):
    answer = shared.get("/static/style.css")
    assert answer.status_code == 200
    assert "prefers-color-scheme: dark" in answer.text
    missing = shared.get("/static/nothing.css")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere(shared, path):
    page = shared.get(path).text
    loaded = re.findall(r"""(?:<script[^>]* src|<link[^>]* href|url)\s*[=:]\s*["']([^"']+)""", page)
    loaded = [url for url in loaded if url != "data:,"]  # an icon that is none
    assert loaded
    for url in loaded:
        assert url.startswith("/"), url
        assert shared.get(url).status_code == 200, url
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")
