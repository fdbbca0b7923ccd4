from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cli import target
from services.errors import InvalidSettings
from services.settings import Settings, is_loopback, load
from tests.conftest import HOME


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
        ("QUOTAS", "ana: 2", "TWOSTREAM_QUOTAS: got 'ana: 2', allowed: JSON such as "),
        ("QUOTAS", "[]", "TWOSTREAM_QUOTAS: got '[]', allowed: JSON such as "),
        ("QUOTAS", '{"a b": {}}', "TWOSTREAM_QUOTAS: got "),
        ("QUOTAS", '{"ana": 2}', "TWOSTREAM_QUOTAS: got "),
        (
            "QUOTAS",
            '{"ana": {"stages": -1}}',
            "TWOSTREAM_QUOTAS.ana.stages: got -1, allowed: greater than or equal to 0",
        ),
        ("QUOTAS", '{"ana": {"gpus": "2"}}', "TWOSTREAM_QUOTAS.ana.gpus: got '2', allowed: integer"),
        (
            "QUOTAS",
            '{"ana": {"share": 0}}',
            "TWOSTREAM_QUOTAS.ana.share: got 0, allowed: greater than or equal to 0.001",
        ),
        ("QUOTAS", '{"ana": {"share": 1e-310}}', "ana.share: got 1e-310, allowed: greater than or equal to 0.001"),
        ("QUOTAS", '{"ana": {"cpus": 1}}', "TWOSTREAM_QUOTAS.ana.cpus: got 1, allowed: one of stages, gpus, share"),
        ("QUOTAS", '{"ana": {"gpus": 1}, "ana": {}}', "allowed: each field once; 'ana' stands twice"),
        ("QUOTAS", '{"ana": {"gpus": 1, "gpus": 2}}', "allowed: each field once; 'gpus' stands twice"),
        ("WEBHOOK_URL", "ftp://me:pw@host/", "TWOSTREAM_WEBHOOK_URL: got '***', allowed: http://host/path or "),
        ("WEBHOOK_URL", "http://me:pw@host/", "TWOSTREAM_WEBHOOK_URL: got '***', allowed: http://host/path or "),
        ("WEBHOOK_URL", "http://host/pw", "TWOSTREAM_WEBHOOK_SECRET: not set, allowed: a secret, needed because "),
        ("WEBHOOK_SECRET", "pw", "TWOSTREAM_WEBHOOK_SECRET: got '***', allowed: 16 characters at the least"),
        (
            "WEBHOOK_NETWORKS",
            "10.1.0.0/33",
            "TWOSTREAM_WEBHOOK_NETWORKS: got '10.1.0.0/33', allowed: networks such as ",
        ),
        (
            "WEBHOOK_NETWORKS",
            "10.1.2.3/16",
            "TWOSTREAM_WEBHOOK_NETWORKS: got '10.1.2.3/16', allowed: networks such as ",
        ),
        ("WEBHOOK_NETWORKS", "hooks.example", "TWOSTREAM_WEBHOOK_NETWORKS: got 'hooks.example', allowed: networks "),
        (
            "WEBHOOK_NETWORKS",
            "10.1.0.0/16,0.0.0.0/0",
            "TWOSTREAM_WEBHOOK_NETWORKS: got '0.0.0.0/0', allowed: networks ",
        ),
        (
            "WEBHOOK_NETWORKS",
            "10.0.0.0/7",
            "TWOSTREAM_WEBHOOK_NETWORKS: got '10.0.0.0/7', allowed: networks within 10.",
        ),
        ("WEBHOOK_NETWORKS", "169.254.0.0/16", "TWOSTREAM_WEBHOOK_NETWORKS: got '169.254.0.0/16', allowed: "),
        ("WEBHOOK_NETWORKS", "fe80::/64", "TWOSTREAM_WEBHOOK_NETWORKS: got 'fe80::/64', allowed: networks within "),
        ("WEBHOOK_NETWORKS", "::ffff:10.0.0.0/104", "TWOSTREAM_WEBHOOK_NETWORKS: got '::ffff:10.0.0.0/104', allowed: "),
        ("NOTIFY_COMMAND", "notify-send x", "TWOSTREAM_NOTIFY_COMMAND: got 'notify-send x', allowed: a JSON list of "),
        ("NOTIFY_COMMAND", "[]", "TWOSTREAM_NOTIFY_COMMAND: got '[]', allowed: a JSON list of "),
        ("NOTIFY_COMMAND", '["", "a"]', "TWOSTREAM_NOTIFY_COMMAND: got "),
        ("NOTIFY_COMMAND", '["a", 1]', "TWOSTREAM_NOTIFY_COMMAND: got "),
        ("NOTIFY_ON", "end,never", "TWOSTREAM_NOTIFY_ON: got 'never', allowed: end, failure, best"),
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


def test_networks_are_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOSTREAM_WEBHOOK_NETWORKS", "10.1.0.0/16, fd00:1::/64,192.168.1.7")
    assert [str(network) for network in load().webhook_networks] == ["10.1.0.0/16", "fd00:1::/64", "192.168.1.7/32"]


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


def test_no_test_reaches_the_home_of_who_runs_it() -> None:
    found = (Settings().home, target.home().path, Path("~/.twostream").expanduser())
    assert [path for path in found if not path.is_relative_to(HOME)] == []


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


def test_quotas_command_and_notices_are_read(monkeypatch):
    monkeypatch.setenv("TWOSTREAM_QUOTAS", '{"*": {"gpus": 4}, "ana": {"stages": 0, "share": 2}}')
    monkeypatch.setenv("TWOSTREAM_NOTIFY_COMMAND", '["notify-send", "two words"]')
    monkeypatch.setenv("TWOSTREAM_NOTIFY_ON", "failure, best")
    settings = load()
    assert {owner: quota.model_dump(exclude_none=True) for owner, quota in settings.quotas.items()} == {
        "*": {"gpus": 4},
        "ana": {"stages": 0, "share": 2.0},
    }
    assert settings.notify_command == ("notify-send", "two words")
    assert settings.notify_on == ("failure", "best")
