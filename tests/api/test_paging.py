"""A page says in headers what it leaves out."""

from __future__ import annotations

from fastapi import Request, Response

from api.paging import page_of

ENTRIES = list("abcde")


def ask(limit: int, offset: int = 0) -> tuple[list[str], Response]:
    scope = {"type": "http", "method": "GET", "path": "/queue", "query_string": b"state=x", "headers": []}
    request = Request(scope | {"server": ("host", 80), "scheme": "http"})
    response = Response()
    found = ENTRIES[offset : offset + limit + 1]
    return page_of(request, response, found, len(ENTRIES), limit, offset), response


def test_a_page_that_is_cut_names_the_next_and_the_number_of_all() -> None:
    page, response = ask(limit=2, offset=1)
    assert page == ["b", "c"]
    assert response.headers["x-total-count"] == "5"
    assert response.headers["link"] == '</queue?state=x&cursor=3>; rel="next"'


def test_the_last_page_names_none() -> None:
    for limit, offset in ((5, 0), (2, 3), (9, 0)):
        page, response = ask(limit, offset)
        assert page == ENTRIES[offset:]
        assert "link" not in response.headers
        assert response.headers["x-total-count"] == "5"
