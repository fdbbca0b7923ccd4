from pathlib import Path

import pytest

from cli.stack import addresses
from cli.stack.leftovers import MARK
from cli.stack.process import StackError
from services.settings import Settings


def test_an_address_that_is_away_is_named_without_its_password(port):
    url = f"postgresql+psycopg://me:secret@127.0.0.1:{port}/twostream"
    with pytest.raises(
        StackError, match=r"PostgreSQL does not answer at .*me:\*\*\*@127.*TWOSTREAM_DATABASE_URL"
    ) as error:
        addresses.require("PostgreSQL", "TWOSTREAM_DATABASE_URL", url)
    assert "secret" not in str(error.value)


def test_an_address_that_answers_is_returned(redis_url):
    assert addresses.require("Redis", "TWOSTREAM_REDIS_URL", redis_url) == redis_url


def test_a_socket_path_is_left_to_its_user():
    assert addresses.answers("unix:///run/redis.sock")


def test_processes_get_absolute_paths_and_every_address(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TWOSTREAM_DATA_ROOT", "generated")
    monkeypatch.setenv("TWOSTREAM_ARTIFACT_ROOT", "s3://bucket/root")
    found = addresses.environment(Settings(), Path("/home"), "run", {"redis": "redis://r"})
    assert found[MARK] == "run"
    assert found["TWOSTREAM_REDIS_URL"] == "redis://r"
    assert found["TWOSTREAM_DATA_ROOT"] == str(tmp_path / "generated")
    assert found["TWOSTREAM_ARTIFACT_ROOT"] == "s3://bucket/root"
    monkeypatch.setenv("TWOSTREAM_ARTIFACT_ROOT", "artifacts")
    assert addresses.environment(Settings(), Path("/home"), "run", {})["TWOSTREAM_ARTIFACT_ROOT"] == str(
        tmp_path / "artifacts"
    )
