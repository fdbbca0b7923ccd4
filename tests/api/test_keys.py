"""Keys: one an owner, shown once."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from api.app import create_app


@pytest.fixture(scope="module")
def administrator(shared_settings):
    settings = shared_settings.model_copy(update={"api_token": SecretStr("t")})
    with TestClient(create_app(settings), headers={"Authorization": "Bearer t"}) as client:
        yield client


def test_a_second_key_of_an_owner_is_409(administrator):
    first = administrator.post("/keys", json={"owner": "keyholder"})
    assert first.json().keys() == {"owner", "key"}
    assert administrator.post("/keys", json={"owner": "keyholder"}).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "owner"),
        ({"owner": ""}, "owner"),
        ({"owner": "a b"}, "owner"),
        ({"owner": "a", "role": "x"}, "role"),
        ({"owner": "administrator"}, "owner"),
        ({"owner": "local"}, "owner"),
    ],
)
def test_bad_bodies_are_422(administrator, body, field):
    answer = administrator.post("/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
