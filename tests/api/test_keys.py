"""Keys: one an owner, shown once, with scopes and an end; who is not known gets 401, who may not 403."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from services.db.engine import Database
from services.settings import Settings
from tests.api.clients import client_of

SPEC = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"]}
COLLECTION = {"max_size": "1TB", "dry_run": True}
OWNERS = itertools.count()


@pytest.fixture(scope="module")
def administrator(module_settings: Settings) -> Iterator[TestClient]:
    settings = module_settings.model_copy(update={"api_token": SecretStr("t")})
    with client_of(settings, headers={"Authorization": "Bearer t"}) as client:
        yield client


@pytest.fixture
def issue(administrator: TestClient) -> Callable[..., dict[str, Any]]:
    """Issue a key to an owner of this test alone, and return the answer."""

    def issued(**body: Any) -> dict[str, Any]:
        answer = administrator.post("/keys", json={"owner": f"owner-{next(OWNERS)}"} | body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return issued


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def dataset(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "root": "/clips", "annotations": "/lists"} | more


def test_a_key_is_shown_once_and_listed_without_it(administrator, issue):
    made = issue(scopes=["submit", "read"], days=30)
    assert made["key"].startswith("ts_")
    assert (made["scopes"], made["state"], made["revoked_at"]) == (["read", "submit"], "valid", None)
    listed = administrator.get("/keys")
    assert made["key"] not in listed.text
    [found] = [key for key in listed.json() if key["owner"] == made["owner"]]
    assert found == {name: value for name, value in made.items() if name != "key"}
    assert issue()["expires_at"] is None


def test_a_second_key_of_an_owner_is_409_until_the_first_is_revoked(administrator, issue):
    first = issue()
    owner = {"owner": first["owner"]}
    assert administrator.post("/keys", json=owner).status_code == 409
    revoked = administrator.post(f"/keys/{first['owner']}/revoke")
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    assert administrator.post(f"/keys/{first['owner']}/rotate").status_code == 409
    again = administrator.post("/keys", json=owner)
    assert (again.status_code, again.json()["state"]) == (201, "valid")
    assert administrator.get("/keys", headers=bearer(first["key"])).status_code == 401


WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "submit": ("/experiments", SPEC),
    "datasets": ("/datasets", {}),
    "administrator": ("/cache/gc", COLLECTION),
}


@pytest.mark.parametrize("held", ["read", "submit", "datasets", "administrator"])
@pytest.mark.parametrize("needed", WRITES)
def test_a_valid_key_without_the_scope_gets_403_with_it_passes(administrator, issue, held, needed):
    key = issue(scopes=[held])["key"]
    path, body = WRITES[needed]
    answer = administrator.post(path, json=body, headers=bearer(key))
    if held in (needed, "administrator"):
        assert answer.status_code in (200, 202, 422)
    else:
        assert answer.status_code == 403
        assert answer.json()["detail"].endswith(f"has the scopes: {held}; this needs: {needed}")


@pytest.mark.parametrize("held", ["read", "submit", "datasets"])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", ""), ("POST", "/owner-0/rotate"), ("POST", "/owner-0/revoke")]
)
def test_keys_are_the_administrators_alone(administrator, issue, held, method, path):
    key = issue(scopes=[held])["key"]
    answer = administrator.request(method, f"/keys{path}", headers=bearer(key))
    assert answer.status_code == 403
    assert administrator.request(method, f"/keys{path}", headers=bearer("ts_wrong")).status_code == 401


def test_rotation_ends_the_key_before_and_keeps_the_rest(administrator, issue):
    first = issue(scopes=["submit"], days=1)
    second = administrator.post(f"/keys/{first['owner']}/rotate").json()
    assert second["key"] != first["key"]
    assert (second["owner"], second["scopes"]) == (first["owner"], first["scopes"])
    assert first["expires_at"] <= second["expires_at"]
    assert administrator.post("/experiments", json=SPEC, headers=bearer(first["key"])).status_code == 401
    answer = administrator.post("/experiments", json=SPEC, headers=bearer(second["key"]))
    assert (answer.status_code, answer.json()["owner"]) == (202, first["owner"])


@pytest.mark.parametrize(("change", "state"), [("revoked_at = now()", "revoked"), ("expires_at = now()", "expired")])
def test_a_key_that_has_ended_is_401_and_says_so(administrator, issue, change, state):
    key = issue()
    database: Database = administrator.app.state.backend.database
    with database.transaction() as session:
        session.execute(text(f"UPDATE api_key SET {change} WHERE owner = :owner"), {"owner": key["owner"]})
    answer = administrator.post("/experiments", json=SPEC, headers=bearer(key["key"]))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["detail"] == f"the key of '{key['owner']}' is {state}"


def test_a_dataset_is_replaced_by_its_owner_or_the_administrator(administrator, issue):
    keys = [issue(scopes=["datasets"]) for _ in range(2)]
    name = f"of-{keys[0]['owner']}"
    mine, theirs = (bearer(key["key"]) for key in keys)
    made = administrator.post("/datasets", json=dataset(name), headers=mine)
    assert (made.status_code, made.json()["owner"]) == (201, keys[0]["owner"])
    anew = dataset(name, replace=True, root="/elsewhere")
    refused = administrator.post("/datasets", json=anew, headers=theirs)
    assert refused.status_code == 403
    assert refused.json()["detail"].startswith(f"dataset '{name}' belongs to '{keys[0]['owner']}'")
    assert administrator.get(f"/datasets/{name}").json()["root"] == "/clips"
    assert administrator.post("/datasets", json=anew, headers=mine).json()["revision"] == 2
    by_all = administrator.post("/datasets", json=anew)
    assert (by_all.json()["revision"], by_all.json()["owner"]) == (3, keys[0]["owner"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "owner"),
        ({"owner": ""}, "owner"),
        ({"owner": "a b"}, "owner"),
        ({"owner": "a", "role": "x"}, "role"),
        ({"owner": "administrator"}, "owner"),
        ({"owner": "local"}, "owner"),
        ({"owner": "a", "scopes": []}, "scopes"),
        ({"owner": "a", "scopes": ["root"]}, "scopes.0"),
        ({"owner": "a", "scopes": "submit"}, "scopes"),
        ({"owner": "a", "days": 0}, "days"),
        ({"owner": "a", "days": "30"}, "days"),
        ({"owner": "a", "days": True}, "days"),
    ],
)
def test_bad_bodies_are_422(administrator, body, field):
    answer = administrator.post("/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("action", ["rotate", "revoke"])
def test_an_owner_without_a_key_is_404(administrator, action):
    assert administrator.post(f"/keys/nobody/{action}").status_code == 404


OPEN = ("/health/live", "/health/ready", "/metrics", "/docs", "/openapi.json", "/static/style.css")
READ = (
    "/",
    "/experiments",
    "/leaderboard?dataset=motion_shapes",
    "/queue",
    "/workers",
    "/cache",
    "/datasets",
    "/models",
)


def test_reading_asks_for_a_token_where_the_setting_wants_it(module_settings, issue):
    settings = module_settings.model_copy(update={"api_token": SecretStr("t"), "read_requires_token": True})
    reader, submitter = issue(scopes=["read"])["key"], issue(scopes=["submit"])["key"]
    with client_of(settings) as client:
        for path in OPEN:
            assert client.get(path).status_code == 200
        for path in READ:
            for method in ("GET", "HEAD"):
                assert client.request(method, path).status_code == 401
                assert client.request(method, path, headers=bearer(submitter)).status_code == 403
                assert client.request(method, path, headers=bearer(reader)).status_code == 200
                assert client.request(method, path, headers=bearer("t")).status_code == 200
        assert client.post("/experiments", json=SPEC, headers=bearer(submitter)).status_code == 202
        assert client.get("/experiments/exp_1/events").status_code == 401
