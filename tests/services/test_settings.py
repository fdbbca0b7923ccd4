from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.errors import InvalidSettings
from services.settings import Settings, is_loopback, load


def test_an_api_beyond_loopback_needs_a_token() -> None:
    with pytest.raises(ValidationError, match="api_token: nothing, allowed: a token, needed because TWOSTREAM_API_H"):
        Settings(api_host="0.0.0.0")
    assert Settings(api_host="0.0.0.0", api_token="secret").api_token is not None  # type: ignore[arg-type]


def test_a_lease_outlasts_its_heartbeats() -> None:
    with pytest.raises(ValidationError, match="lease_seconds: got 5"):
        Settings(lease_seconds=5, heartbeat_seconds=4)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("API_PORT", "abc", "TWOSTREAM_API_PORT: got 'abc', allowed: integer"),
        ("API_PORT", "99999", "TWOSTREAM_API_PORT: got '99999', allowed: less than or equal to 65535"),
        ("LEASE_SECONDS", "-1", "TWOSTREAM_LEASE_SECONDS: got '-1', allowed: greater than 0"),
        ("LEASE_SECONDS", "5", "TWOSTREAM_LEASE_SECONDS: got 5.0, allowed: at least twice"),
        ("DATABASE_URL", "sqlite:///x", "TWOSTREAM_DATABASE_URL: got 'sqlite:///x', allowed: postgresql+psycopg://"),
        ("DATABASE_URL", "mysql://me:pw@db/x", "TWOSTREAM_DATABASE_URL: got 'mysql://***@db/x', allowed: "),
        ("REDIS_URL", ":pw@host:1", "TWOSTREAM_REDIS_URL: got '***@host:1', allowed: redis://host:port/0"),
        ("MLFLOW_URL", "127.0.0.1:5000", "TWOSTREAM_MLFLOW_URL: got '127.0.0.1:5000', allowed: http://host:port"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"TWOSTREAM_{name}", value)
    with pytest.raises(InvalidSettings) as refused:
        load()
    assert words in str(refused.value)
    assert "pw" not in str(refused.value)


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOSTREAM_DATABASE_URL", "")
    assert load().database_url is None
    monkeypatch.setenv("TWOSTREAM_API_HOST", "0.0.0.0")
    monkeypatch.setenv("TWOSTREAM_API_TOKEN", "")
    with pytest.raises(InvalidSettings, match="TWOSTREAM_API_TOKEN: not set"):
        load()


def test_folders_follow_home_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOSTREAM_HOME", "/somewhere")
    monkeypatch.setenv("TWOSTREAM_ARTIFACT_ROOT", "s3://bucket/x")
    settings = Settings()
    assert settings.artifacts == "s3://bucket/x"
    assert str(settings.work) == "/somewhere/work"
    assert settings.api_address == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", False), ("db", False)]
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("given", "names"),
    [("", ()), ("gpu1.lab", ("gpu1.lab",)), (" a.b , 10.0.0.5,[::2], ", ("a.b", "10.0.0.5", "[::2]"))],
)
def test_names_of_hosts_are_separated_by_commas(monkeypatch, given, names):
    monkeypatch.setenv("TWOSTREAM_ALLOWED_HOSTS", given)
    assert load().allowed_hosts == names


@pytest.mark.parametrize("name", ["*", "a.b:8080", "http://a.b", "a b", "*.lab"])
def test_what_is_no_name_of_a_host_is_named(monkeypatch, name):
    monkeypatch.setenv("TWOSTREAM_ALLOWED_HOSTS", f"gpu1.lab,{name}")
    with pytest.raises(InvalidSettings) as refused:
        load()
    assert str(refused.value).startswith(f"TWOSTREAM_ALLOWED_HOSTS: got {name!r}, allowed: names or addresses of hosts")


def test_readers_are_asked_for_a_token_only_where_there_is_one(monkeypatch):
    monkeypatch.setenv("TWOSTREAM_READ_REQUIRES_TOKEN", "1")
    with pytest.raises(
        InvalidSettings, match="TWOSTREAM_API_TOKEN: not set, allowed: a token, needed because TWOSTREAM_READ_REQ"
    ):
        load()
    monkeypatch.setenv("TWOSTREAM_API_TOKEN", "t")
    assert load().read_requires_token
