"""The API, as the command line asks it."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9", 1, "hint: `twostream up` starts one here"),
        ("ftp://host", 2, "allowed: http:// or https://"),
        ("http://host:port", 2, "TWOSTREAM_API_URL: got "),
    ],
)
def test_an_api_that_is_not_there_is_named(twostream, monkeypatch, url, code, words):
    monkeypatch.setenv("TWOSTREAM_API_URL", url)
    found, _, err = twostream("list")
    assert (found, url in err, words in err) == (code, True, True)
