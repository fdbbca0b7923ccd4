"""Bodies over 1 MB get 413, whether announced or sent in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.limits import MAX_BODY_BYTES

JSON = {"content-type": "application/json"}


def chunks(total: int) -> Iterator[bytes]:
    for _ in range(total // 50_000):
        yield b" " * 50_000
    yield b" " * (total % 50_000)


@pytest.mark.parametrize("path", ["/experiments", "/datasets"])
@pytest.mark.parametrize("how", ["announced", "chunked"])
def test_body_over_the_limit_is_413(shared, path, how):
    size = MAX_BODY_BYTES + 1
    answer = shared.post(path, content=b" " * size if how == "announced" else chunks(size), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert str(MAX_BODY_BYTES) in answer.json()["detail"]


@pytest.mark.parametrize("how", ["announced", "chunked"])
def test_body_at_the_limit_is_read(shared, how):
    size = MAX_BODY_BYTES
    answer = shared.post("/experiments", content=b" " * size if how == "announced" else chunks(size), headers=JSON)
    assert answer.status_code == 422


def test_length_that_is_no_number_is_not_believed(shared):
    answer = shared.post("/experiments", content=chunks(MAX_BODY_BYTES + 1), headers=JSON | {"content-length": "-5"})
    assert answer.status_code == 413
