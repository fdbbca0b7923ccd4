"""What is said of an experiment afterwards, over HTTP: who may, what is refused, what boards and lists show then."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from services.settings import Settings
from tests.api.clients import client_of
from tests.api.test_experiments import problem

TOKEN = {"Authorization": "Bearer t"}


def test_an_experiment_is_renamed_tagged_noted_and_archived(client, submit):
    made = submit()
    said = {name: made[name] for name in ("tags", "note", "archived", "withdrawn", "edits")}
    assert said == {"tags": [], "note": "", "archived": False, "withdrawn": None, "edits": 0}
    body = {"name": "other", "tags": {"add": ["b", "a"]}, "note": "<script>\nline 2", "archived": True, "edits": 0}
    found = client.patch(f"/experiments/{made['id']}", json=body)
    assert found.status_code == 200, found.text
    assert {name: found.json()[name] for name in ("name", "tags", "note", "archived", "edits")} == {
        "name": "other", "tags": ["a", "b"], "note": "<script>\nline 2", "archived": True, "edits": 1,
    }  # fmt: skip
    detail = client.get(f"/experiments/{made['id']}").json()
    assert (detail["name"], detail["spec"]["name"]) == ("other", "small")
    again = client.patch(
        f"/experiments/{made['id']}", json={"tags": {"add": ["c"], "remove": ["a", "z"]}, "note": None}
    )
    assert (again.json()["tags"], again.json()["note"], again.json()["edits"]) == (["b", "c"], "<script>\nline 2", 2)
    assert "somebody" not in problem(client.patch(f"/experiments/{made['id']}", json={"note": "", "edits": 1}), 409)
    page = client.get(f"/experiments/{made['id']}", headers={"Accept": "text/html"}).text
    assert "&lt;script&gt;" in page
    assert "<script>\n" not in page


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": " "}, "name"),
        ({"name": "\u00a0\u3000"}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"tags": ["a"]}, "tags"),
        ({"tags": {"add": [""]}}, "tags.add.0"),
        ({"tags": {"add": ["a b"]}}, "tags.add.0"),
        ({"tags": {"add": ["a,b"]}}, "tags.add.0"),
        ({"tags": {"add": ["x" * 51]}}, "tags.add.0"),
        ({"tags": {"add": ["a"] * 51}}, "tags.add"),
        ({"tags": {"add": ["\x1b[2J"]}}, "tags.add.0"),
        ({"tags": {"set": ["a"]}}, "tags.set"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "\x1b[2J"}, "note"),
        ({"note": "\0"}, "note"),
        ({"archived": 1}, "archived"),
        ({"edits": -1}, "edits"),
        ({"owner": "me"}, "owner"),
    ],
)
def test_what_cannot_be_said_is_refused_by_field(shared, body, field):
    found = problem(shared.patch("/experiments/exp_1", json=body), 422)
    assert [error["field"] for error in found["errors"]] == [field]


@pytest.mark.parametrize(
    "body", [{}, {"reason": ""}, {"reason": "a\nb"}, {"reason": "  "}, {"reason": "x" * 501}, {"why": "x"}]
)
def test_a_withdrawal_has_a_reason_of_one_line(shared, body):
    assert problem(shared.post("/experiments/exp_1/withdraw", json=body), 422)["errors"]


def test_what_is_not_there_is_404(shared):
    for answer in (
        shared.patch("/experiments/exp_1", json={}),
        shared.delete("/experiments/exp_1"),
        shared.post("/experiments/exp_1/withdraw", json={"reason": "x"}),
        shared.post("/experiments/exp_1/reinstate"),
    ):
        problem(answer, 404)


def test_the_owner_and_the_administrator_may_and_nobody_else(database_url, redis_url):
    settings = Settings(database_url=database_url, redis_url=redis_url, api_token=SecretStr("t"), sweep_seconds=3600)
    spec = {
        "dataset": "motion_shapes",
        "splits": [1],
        "streams": ["rgb"],
        "backbone": {"name": "tiny", "finetune": None},
    }
    with client_of(settings) as client:
        keys = {}
        for owner, scopes in (("ana", ["submit"]), ("ben", ["submit"]), ("eve", ["read"])):
            key = client.post("/keys", json={"owner": owner, "scopes": scopes}, headers=TOKEN).json()["key"]
            keys[owner] = {"Authorization": f"Bearer {key}"}
        id_ = client.post("/experiments", json=spec, headers=keys["ana"]).json()["id"]
        client.post(f"/experiments/{id_}/cancel", headers=keys["ana"])
        asked: list[tuple[str, str, Any]] = [
            ("PATCH", "", {"tags": {"add": ["x"]}}),
            ("POST", "/withdraw", {"reason": "why"}),
            ("POST", "/reinstate", None),
            ("DELETE", "", None),
        ]
        for method, path, body in asked:
            for headers, status in (({}, 401), (keys["eve"], 403), (keys["ben"], 403), (keys["ana"], 200)):
                answer = client.request(method, f"/experiments/{id_}{path}", json=body, headers=headers)
                assert answer.status_code == status, (method, path, answer.text)
        other = client.post("/experiments", json=spec, headers=keys["ana"]).json()["id"]
        client.post(f"/experiments/{other}/cancel", headers=TOKEN)
        for method, path, body in asked:
            assert client.request(method, f"/experiments/{other}{path}", json=body, headers=TOKEN).status_code == 200


def test_a_board_that_is_kept_forgets_what_was_withdrawn_renamed_or_deleted(client, submit, worker):
    ids = [submit(seeds=[seed], name=f"run {seed}")["id"] for seed in range(2)]
    worker().finish_all()
    query = {"dataset": "motion_shapes", "split": 1, "stream": "rgb"}

    def look(etag: str = "") -> Any:
        return client.get("/leaderboard", params=query, headers={"If-None-Match": etag} if etag else {})

    first = look()
    assert look(first.headers["etag"]).status_code == 304
    client.patch(f"/experiments/{ids[0]}", json={"tags": {"add": ["x"]}})
    assert look(first.headers["etag"]).status_code == 304, "a board shows no tags"
    client.patch(f"/experiments/{ids[0]}", json={"name": "renamed"})
    second = look(first.headers["etag"])
    assert {row["name"] for row in second.json()["rows"]} == {"renamed", "run 1"}
    answer = client.post(f"/experiments/{ids[0]}/withdraw", json={"reason": "=1+1, wrong lists"})
    assert answer.json()["withdrawn"]["reason"] == "=1+1, wrong lists"
    third = look(second.headers["etag"])
    assert [row["name"] for row in third.json()["rows"]] == ["run 1"]
    [gone] = third.json()["withdrawn"]
    assert {name: gone[name] for name in ("experiment_id", "name", "value", "reason", "by")} == {
        "experiment_id": ids[0], "name": "renamed", "value": 0.5, "reason": "=1+1, wrong lists", "by": "local",
    }  # fmt: skip
    for form in ("csv", "markdown", "latex"):
        text = client.get("/leaderboard", params=query | {"format": form}).text
        assert "wrong lists" in text, form
    assert f"{ids[0]},renamed,0.5,\"'=1+1, wrong lists\",local," in client.get(
        "/leaderboard", params=query | {"format": "csv"}
    ).text  # fmt: skip
    assert "=1+1, wrong lists" in client.get("/?dataset=motion_shapes&split=1&stream=rgb").text
    client.post(f"/experiments/{ids[0]}/reinstate")
    fourth = look(third.headers["etag"])
    assert (len(fourth.json()["rows"]), fourth.json()["withdrawn"]) == (2, [])
    assert client.delete(f"/experiments/{ids[1]}").json()["name"] == "run 1"
    fifth = look(fourth.headers["etag"])
    assert [row["name"] for row in fifth.json()["rows"]] == ["renamed"]
    assert "'run 1' was deleted by local" in problem(client.get(f"/experiments/{ids[1]}"), 404)["detail"]
    problem(client.delete(f"/experiments/{ids[1]}"), 404)


def test_a_running_experiment_is_not_deleted(client, submit):
    made = submit()
    assert "hint: cancel it first" in problem(client.delete(f"/experiments/{made['id']}"), 409)["detail"]


def test_lists_are_searched_and_leave_archived_ones_out(client, submit):
    ids = [submit(seeds=[seed], name=f"run {seed}")["id"] for seed in range(3)]
    client.patch(f"/experiments/{ids[0]}", json={"note": "diverged", "tags": {"add": ["keep", "paper:7"]}})
    client.patch(f"/experiments/{ids[1]}", json={"archived": True, "tags": {"add": ["keep"]}})

    def listed(query: str) -> list[str]:
        answer = client.get(f"/experiments?{query}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["total"] == len(answer.json()["items"])
        return [item["id"] for item in answer.json()["items"]]

    assert listed("") == [ids[2], ids[0]]
    assert listed("archived=only") == [ids[1]]
    assert listed("archived=any") == ids[::-1]
    assert listed("search=diverg") == [ids[0]]
    assert listed("search=run&archived=any&limit=200") == ids[::-1]
    assert listed("tag=keep") == [ids[0]]
    assert listed("tag=keep,paper:7&archived=any") == [ids[0]]
    assert listed("search=nothing") == []
    for query, field in (("tag=a%20b", "tag"), ("tag=,", "tag"), ("search=", "search"), ("archived=yes", "archived")):
        assert [each["field"] for each in problem(client.get(f"/experiments?{query}"), 422)["errors"]] == [field]
    page = client.get("/experiments?search=run&tag=keep&archived=any", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert ids[0] in page.text
    assert ids[2] not in page.text


def test_many_who_tag_at_once_lose_nothing(client, submit):
    id_ = submit()["id"]

    def tag(name: str) -> None:
        assert client.patch(f"/experiments/{id_}", json={"tags": {"add": [name]}}).status_code == 200

    threads = [threading.Thread(target=tag, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get(f"/experiments/{id_}").json()["tags"] == [f"t{number}" for number in range(8)]


def test_a_stream_of_what_was_deleted_ends(client: TestClient, submit):
    id_ = submit()["id"]
    client.post(f"/experiments/{id_}/cancel")
    client.delete(f"/experiments/{id_}")
    problem(client.get(f"/experiments/{id_}/events"), 404)
