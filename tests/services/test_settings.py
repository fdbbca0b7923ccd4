from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.settings import Settings, is_loopback


def test_an_api_beyond_loopback_needs_a_token() -> None:
    with pytest.raises(ValidationError, match="TWOSTREAM_API_TOKEN: not set"):
        Settings(api_host="0.0.0.0")
    assert Settings(api_host="0.0.0.0", api_token="secret").api_token is not None  # type: ignore[arg-type]


def test_a_lease_outlasts_its_heartbeats() -> None:
    with pytest.raises(ValidationError, match="TWOSTREAM_LEASE_SECONDS: got 5"):
        Settings(lease_seconds=5, heartbeat_seconds=4)


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
