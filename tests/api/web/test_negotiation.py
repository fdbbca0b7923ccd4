"""One address, two answers: HTML for browsers, JSON for everybody else."""

from __future__ import annotations

import pytest

from api.web.negotiation import prefers_html

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
HTML = {"Accept": BROWSER}
PAGES = (
    "/experiments",
    "/queue",
    "/workers",
    "/recipes",
    "/recipes/tsn_ucf101",
    "/models",
    "/papers",
    "/papers/ts_lstm",
    "/papers/ts_lstm/tables/2",
    "/datasets",
    "/datasets/motion_shapes",
)


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("text/html, application/json", False),
        ("text/html, */*", True),
        ("text/html, application/*", True),
        ("text/html;q=0.5, application/json;q=0.9", False),
        ("text/html;q=0.9, */*;q=1", False),
        ("text/html;q=0", False),
        ("TEXT/HTML;level=1;q=0.9, */*;q=0.1", True),
        ("text/html;q=x", False),
    ],
)
def test_html_must_be_named_and_wanted_more(accept, html):
    scope = {"type": "http", "headers": [(b"accept", accept.encode())]}
    assert prefers_html(scope) is html


@pytest.mark.parametrize("path", PAGES)
def test_both_are_at_one_address(shared, path):
    page, data = shared.get(path, headers=HTML), shared.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (data.status_code, data.headers["content-type"]) == (200, "application/json")
    assert page.headers["vary"] == data.headers["vary"] == "Accept"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<style" not in page.text
    assert " style=" not in page.text
    assert shared.head(path, headers=HTML).headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    "path",
    [
        "/experiments/exp_1",
        "/datasets/none",
        "/recipes/none",
        "/papers/none",
        "/papers/ts_lstm/tables/no",
        "/nothing/here",
    ],
)
def test_what_is_not_there_is_a_page_with_404(shared, path):
    page, data = shared.get(path, headers=HTML), shared.get(path)
    assert page.status_code == data.status_code == 404
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert data.headers["content-type"] == "application/problem+json"
    assert page.headers["vary"] == data.headers["vary"] == "Accept"
    assert "<h1>Not Found</h1>" in page.text


def test_a_wrong_search_is_a_page_with_422(shared):
    page = shared.get("/experiments?state=asleep", headers=HTML)
    assert page.status_code == 422
    assert "asleep" in page.text
    assert shared.get("/experiments?colour=red", headers=HTML).status_code == 422


def test_experiments_are_found_by_what_one_remembers(client, submit):
    submit(name="Quick 100% <b>test</b>", model={"kind": "lstm"})
    submit(name="slow test")
    for query, number in (
        ("name=QUICK", 1),
        ("name=100%25", 1),
        ("name=%25", 1),
        ("name=test", 2),
        ("model=lstm", 1),
        ("owner=local", 2),
        ("owner=x", 0),
        ("state=queued&name=slow", 1),
    ):
        assert client.get(f"/experiments?{query}").json()["total"] == number, query
        text = client.get(f"/experiments?{query}", headers=HTML).text
        assert text.count('href="/experiments/exp_') == number, query
        assert "<b>test" not in text
