"""With a token set, who writes must send it or an issued key; reading stays open."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tests.api.clients import client_of

SPEC = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"]}
TOKEN = "the secret of this API"
ADMINISTRATOR = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded(module_settings):
    """A client of an application with a token; the tests of this module share its database."""
    with client_of(module_settings.model_copy(update={"api_token": SecretStr(TOKEN)})) as client:
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
    assert guarded.post("/keys", json={"owner": "eve"}, headers=key).status_code == 403


def test_an_issued_key_ends_and_retries_its_own_experiments_only(guarded):
    keys = [
        guarded.post("/keys", json={"owner": owner}, headers=ADMINISTRATOR).json()["key"] for owner in ("ida", "ivo")
    ]
    ida, ivo = ({"Authorization": f"Bearer {key}"} for key in keys)
    place = guarded.post("/experiments", json=SPEC, headers=ida).headers["location"]
    for action in ("cancel", "retry"):
        answer = guarded.post(f"{place}/{action}", headers=ivo)
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:twostream:problem:forbidden"
        assert "belongs to 'ida'" in answer.json()["detail"]
    assert guarded.get(place).json()["state"] == "queued"
    assert guarded.post(f"{place}/cancel", headers=ida).status_code == 202
    assert guarded.post(f"{place}/retry", headers=ADMINISTRATOR).status_code == 202


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
