"""Which API a command asks, and that no proxy stands between it and this machine."""

from __future__ import annotations

import os

import pytest

from cli.connection import http_client
from cli.errors import CommandError
from cli.stack import ports

PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY")


@pytest.mark.parametrize("proxy", ["http://192.0.2.1:3128", "socks5://192.0.2.1:1080", "nonsense://x", "http://:port"])
def test_commands_reach_the_api_past_any_proxy(twostream, monkeypatch, proxy):
    for name in PROXIES:
        monkeypatch.setenv(name, proxy)
    nothing = f"exp_{'f' * 20}"
    for command in (["list"], ["workers", "--json"], ["logs", nothing]):
        code, _, err = twostream(*command)
        assert (code, err) in ((0, ""), (3, f"twostream: no experiment named '{nothing}'\n"))


@pytest.mark.parametrize("proxy", ["socks5://192.0.2.1:1080", "nonsense://x", "http://:port"])
def test_a_proxy_that_is_none_is_named_on_the_way_elsewhere(monkeypatch, proxy):
    monkeypatch.setenv("all_proxy", proxy)
    with pytest.raises(CommandError, match=r"all_proxy.*: allowed: http://host:port"):
        http_client("http://192.0.2.7")


def test_what_commands_start_goes_past_proxies_too(twostream, monkeypatch):
    monkeypatch.setenv("no_proxy", "lab.example")
    handed: dict[str, str] = {}
    monkeypatch.setattr(os, "execv", lambda *_: handed.update(os.environ))
    twostream("up")
    assert handed["no_proxy"] == "lab.example,localhost,127.0.0.1,::1"


def test_without_a_stack_nobody_else_is_asked(twostream, monkeypatch, tmp_path):
    monkeypatch.delenv("TWOSTREAM_API_URL")
    monkeypatch.delenv("TWOSTREAM_API_PORT", raising=False)
    home, spec = tmp_path / "home", tmp_path / "spec.yaml"
    spec.write_text("dataset: motion_shapes\n")
    try:
        stranger = ports.listen(ports.LOOPBACK, 8080)  # where a stack of somebody else's would be
    except OSError:
        stranger = None
    try:
        for command in (["list"], ["submit", str(spec)], ["key", "list", "--json"], ["dataset", "list"]):
            code, out, err = twostream(*command)
            assert code == 1
            assert err == (
                f"twostream: no stack is up in {home}; "
                "hint: `twostream up` starts one, TWOSTREAM_HOME or TWOSTREAM_API_URL names one elsewhere\n"
            )
            assert "Traceback" not in out
    finally:
        if stranger is not None:
            stranger.settimeout(0)
            with pytest.raises(BlockingIOError):
                stranger.accept()
            stranger.close()
