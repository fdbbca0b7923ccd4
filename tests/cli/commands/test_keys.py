"""`twostream key`: issue, list, rotate, revoke, on an API that knows an administrator."""

from __future__ import annotations

import json
import os

import pytest

from cli.stack import ports
from cli.stack.api import Api
from tests.parts import running

TOKEN = "the administrator's"


@pytest.fixture(scope="module")
def api(servers, database, redis_server):
    """Base URL of a real API process that asks for a token."""
    given = {
        "TWOSTREAM_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
        "TWOSTREAM_REDIS_URL": redis_server,
        "TWOSTREAM_HOME": str(servers / "home"),
        "TWOSTREAM_API_TOKEN": TOKEN,
    }
    with ports.listen(ports.LOOPBACK, 0) as listener:
        server = Api(listener, {**os.environ, **given}, servers / "guarded.log")
        with running(server):
            yield server.url


def test_a_key_from_its_issue_to_its_end(twostream, monkeypatch):
    monkeypatch.setenv("TWOSTREAM_API_TOKEN", TOKEN)
    code, key, err = twostream("key", "issue", "ana", "--scope", "submit", "--scope", "datasets", "--days", "30")
    assert (code, key[:3], err) == (0, "ts_", "")
    assert twostream("key", "issue", "ana")[0] == 4
    code, out, _ = twostream("key", "list")
    assert "datasets, submit" in out
    assert key.strip() not in out
    [listed] = json.loads(twostream("key", "list", "--json")[1])
    assert (listed["owner"], listed["state"]) == ("ana", "valid")
    second = json.loads(twostream("key", "rotate", "ana", "--json")[1])["key"]
    assert twostream("key", "revoke", "ana") == (0, "ana  revoked\n", "")
    assert twostream("key", "rotate", "ana")[0] == 4
    for ended in (key.strip(), second):
        monkeypatch.setenv("TWOSTREAM_API_TOKEN", ended)
        code, _, err = twostream("cancel", f"exp_{'f' * 20}")
        assert (code, "the key" in err or "the token" in err) == (1, True)


def test_what_is_wrong_is_named(twostream, monkeypatch):
    monkeypatch.setenv("TWOSTREAM_API_TOKEN", TOKEN)
    for arguments, code, words in (
        (["issue", "bob", "--scope", "root"], 2, "scopes.0: got 'root', allowed: one of read, submit, datasets"),
        (["issue", "bob", "--days", "0"], 2, "days: got 0"),
        (["issue", "a b"], 2, "owner: got 'a b'"),
        (["rotate", "nobody"], 3, "no key named 'nobody'"),
        (["revoke", "no/body?x=1"], 3, ""),
    ):
        found, _, err = twostream("key", *arguments)
        assert (found, words in err) == (code, True), err
    monkeypatch.delenv("TWOSTREAM_API_TOKEN")
    code, _, err = twostream("key", "list")
    assert (code, "Authorization" in err) == (1, True)
