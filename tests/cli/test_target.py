"""Which API a command talks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.errors import Unreachable
from cli.target import Target, home, stack_addresses


@pytest.fixture(autouse=True)
def _empty_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWOSTREAM_HOME", str(tmp_path / "home"))
    for name in ("TWOSTREAM_API_URL", "TWOSTREAM_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def test_an_address_that_is_given_counts_with_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOSTREAM_API_URL", "http://host:8080/")
    assert Target.from_environment() == Target("http://host:8080", None)
    monkeypatch.setenv("TWOSTREAM_API_TOKEN", "secret")
    assert Target.from_environment() == Target("http://host:8080", "secret")


def test_without_an_address_and_a_stack_there_is_none(tmp_path: Path) -> None:
    assert home().path == tmp_path / "home"
    assert stack_addresses() == {}
    with pytest.raises(Unreachable, match=r"no stack is up in .*/home; hint: `twostream up` starts one"):
        Target.from_environment()
