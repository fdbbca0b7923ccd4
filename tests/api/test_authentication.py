"""With a token set, who writes must send it or an issued key; reading stays open."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app

SPEC = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"]}
TOKEN = "the secret of this API"
ADMINISTRATOR = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded(shared_settings):
    """A client of an application with a token; the tests of this module share its database."""
    with TestClient(create_app(shared_settings.model_copy(update={"api_token": SecretStr(TOKEN)}))) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/experiments", "/experiments/exp_1/cancel", "/experiments/exp_1/retry", "/datasets", "/keys"]
)
@pytest.mark.parametrize("value", [None, "Bearer wrong", "Bearer é", f"Basic {TOKEN}", "Bearer", "Bearer a\0b"])
def test_writing_without_the_token_is_401(guarded, path, value):
    headers = [] if value is None else [("Authorization", value.encode())]
    answer = guarded.post(path, json=SPEC, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert TOKEN not in answer.text


def test_the_administrator_and_issued_keys_submit_under_their_names(guarded):
    first = guarded.post("/experiments", json=SPEC, headers=ADMINISTRATOR)
    assert first.json()["owner"] == "administrator"
    issued = guarded.post("/keys", json={"owner": "ana"}, headers=ADMINISTRATOR)
    assert issued.status_code == 201
    key = {"Authorization": f"Bearer {issued.json()['key']}"}
    second = guarded.post("/experiments", json=SPEC, headers=key)
    assert second.json()["owner"] == "ana"
    assert guarded.post("/keys", json={"owner": "eve"}, headers=key).status_code == 401


def test_owners_do_not_share_idempotency_keys(guarded):
    key = guarded.post("/keys", json={"owner": "bob"}, headers=ADMINISTRATOR).json()["key"]
    once = {"Idempotency-Key": "1"}
    first = guarded.post("/experiments", json=SPEC, headers=ADMINISTRATOR | once)
    second = guarded.post("/experiments", json=SPEC, headers={"Authorization": f"Bearer {key}"} | once)
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("path", ["/", "/experiments", "/leaderboard?dataset=motion_shapes", "/health/ready", "/queue"])
def test_reading_needs_no_token(guarded, path):
    assert guarded.get(path).status_code == 200


def test_without_a_token_everyone_is_local_and_nobody_issues_keys(client):
    assert client.post("/experiments", json=SPEC, headers={"Authorization": "Bearer x"}).json()["owner"] == "local"
    answer = client.post("/keys", json={"owner": "ana"})
    assert answer.status_code == 403
    assert "TWOSTREAM_API_TOKEN" in answer.json()["detail"]
