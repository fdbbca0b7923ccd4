"""The API, as the command line asks it."""

from __future__ import annotations

import asyncio
import datetime
import io
import os
import socket
import time

import pytest

from cli import AsyncClient, Client, CommandError
from cli.errors import Unreachable


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


def test_what_json_cannot_say_is_named_by_whatever_sends_it():
    circle = {}
    circle["self"] = circle
    with Client.connect("http://127.0.0.1:9") as client:
        for send in (client.post, client.patch):
            for body in (circle, {(1, 2): 3}):
                with pytest.raises(CommandError, match="got what JSON cannot say, allowed: texts, numbers"):
                    send("/experiments", body)
            with pytest.raises(Unreachable):
                send("/experiments", {"note": datetime.date(2026, 1, 1)})


NAMED = (
    ("dataset", "check", "{}"),
    ("papers", "show", "{}"),
    ("papers", "show", "ts_lstm", "{}"),
    ("papers", "draw", "ts_lstm", "{}", "-o", "x.png"),
    ("papers", "launch", "{}", "--dry-run"),
    ("figure", "{id}", "{}", "-o", "x.png"),
)
"""Commands whose path holds a name as it was typed."""


@pytest.mark.parametrize("words", NAMED, ids=" ".join)
@pytest.mark.parametrize(
    "name", ["..", ".", "../experiments", "a?split=1", "a#b", "a/b", "a%2Fb", "a\nb", "", "\udcff"]
)
def test_a_name_leads_to_no_other_address_than_its_own(twostream, submitted, words, name):
    code, out, err = twostream(*(word.format(name, id=submitted) for word in words))
    assert (code in {2, 3}, out) == (True, ""), err
    assert "TWOSTREAM_API_URL" not in err
    if "/" not in name and code == 3:
        assert f"named {name!r}" in err


@pytest.mark.parametrize(
    "words",
    [
        ("show", "{}"),
        ("watch", "{}"),
        ("list", "--tag", "{}"),
        ("list", "--cursor", "{}"),
        ("usage", "--owner", "{}"),
        ("leaderboard", "--dataset", "{}"),
        ("compare", "{id}", "{}"),
        ("logs", "{id}", "--stage", "{}"),
        ("figure", "{id}", "learning", "--stream", "{}"),
        ("key", "revoke", "{}"),
        ("note", "{id}", "{}"),
    ],
    ids=" ".join,
)
def test_bytes_that_are_no_text_are_refused_in_words(twostream, submitted, words):
    code, out, err = twostream(*(word.format("\udcff", id=submitted) for word in words))
    assert (code, out) == (2, "")
    assert "got '\\udcff'" in err


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\u00e9", "\udcff", "a\x00"])
def test_what_no_header_can_carry_is_named_and_a_secret_is_not_shown(monkeypatch, text):
    secret = f"geheim{text}"
    with pytest.raises(CommandError, match=r"^TWOSTREAM_API_TOKEN: got \*\*\*, allowed: printable ASCII$") as refused:
        Client.connect("http://127.0.0.1:9", secret)
    assert refused.value.exit_code == 2
    monkeypatch.setenv("TWOSTREAM_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(os, "environ", {**os.environ, "TWOSTREAM_API_TOKEN": secret})
    with pytest.raises(CommandError, match="TWOSTREAM_API_TOKEN: got"):
        Client.connect()
    with Client.connect("http://127.0.0.1:9") as client:
        for send in (client.submit, client.sweep):
            with pytest.raises(CommandError, match=r"^Idempotency-Key: got 'geheim.*, allowed: printable ASCII$"):
                send({"recipe": "demo_ts_lstm"}, idempotency_key=secret)


@pytest.mark.parametrize(
    "address",
    ["http://elsewhere.example/", "https://127.0.0.1:9/", "http://127.0.0.1:8/"],
)
def test_nobody_else_is_sent_the_token(address):
    with Client.connect("http://127.0.0.1:9", "secret") as client:
        for ask in (client.get, client.page, client.text, client.content, client.delete, client.post):
            with pytest.raises(CommandError, match=r"allowed: a path of the API at http://127\.0\.0\.1:9$"):
                ask(address)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e30, "5"])
def test_a_time_that_is_none_is_refused_wherever_one_is_taken(twostream, submitted, api, timeout):
    words = "^timeout: got .*, allowed: 0.* to 1e.09 seconds, or None$"
    with pytest.raises(CommandError, match=words):
        Client.connect(api, timeout=timeout)
    with Client.connect(api) as client:
        with pytest.raises(CommandError, match=words):
            client.wait(submitted, timeout=timeout)
        with pytest.raises(CommandError, match=words):
            client.wait_for_sweep("swp_0", timeout=timeout)
    with pytest.raises(CommandError, match=r"allowed: 0\.001 to"):
        Client.connect(api, timeout=0)


@pytest.fixture
def silent():
    """The address of an API that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


CALLS = {
    "get": lambda client: client.get("/experiments"),
    "post": lambda client: client.post("/experiments", {}),
    "patch": lambda client: client.patch("/experiments/exp_1", {}),
    "delete": lambda client: client.delete("/experiments/exp_1"),
    "content": lambda client: client.content("/experiments/exp_1/figures/learning.svg"),
    "submit": lambda client: client.submit({"recipe": "demo_ts_lstm"}),
    "send": lambda client: client.send("/scores", io.BytesIO(b"x")),
    "receive": lambda client: client.receive("/experiments/exp_1/model", io.BytesIO()),
    "sweep": lambda client: client.sweep({"experiment": {"recipe": "demo_ts_lstm"}}, dry_run=False),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_request_waits_longer_than_the_client_was_told(silent, call):
    began_at = time.monotonic()
    with Client.connect(silent, timeout=0.05) as client, pytest.raises(CommandError, match=r"(?i)time|answer"):
        CALLS[call](client)
    assert time.monotonic() - began_at < 20  # of 30 or more, that a request has by itself


async def _left(url: str) -> None:
    async with AsyncClient.connect(url, timeout=0.05) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.wait("small"), 0.01)


def test_who_leaves_off_waiting_is_not_held(silent):
    asyncio.run(_left(silent))
