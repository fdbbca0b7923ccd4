"""HEAD and OPTIONS are answered on every route."""

from __future__ import annotations

from tests.api.routes import at, every_route


@every_route
def test_head_is_get_without_its_body(shared, method, path):
    if path.endswith("/events"):
        assert shared.head(at(path)).status_code == 404
        return
    got, head = shared.get(at(path)), shared.head(at(path))
    assert (head.status_code, head.content) == (got.status_code, b"")
    changing = {"content-length"} if path == "/metrics" else set()  # ages grow by a digit
    assert {**head.headers, **dict.fromkeys(changing)} == {**got.headers, **dict.fromkeys(changing)}


@every_route
def test_options_name_the_methods(shared, method, path):
    answer = shared.options(at(path))
    assert (answer.status_code, answer.content) == (204, b"")
    allowed = answer.headers["allow"].split(", ")
    assert {method, "OPTIONS"} <= set(allowed)
    assert ("HEAD" in allowed) == ("GET" in allowed)


def test_options_of_nothing_are_404(shared):
    assert shared.options("/nowhere").status_code == 404
