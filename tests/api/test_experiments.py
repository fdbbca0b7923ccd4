"""Submit, list, look at, cancel, try again: against a real Postgres and Redis."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import pytest
import redis

SPEC: dict[str, Any] = {
    "dataset": "motion_shapes",
    "splits": [1],
    "streams": ["rgb"],
    "backbone": {"name": "tiny", "finetune": None},
}


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    return found


def test_submit_answers_202_with_a_location_and_rings(client, redis_url):
    answer = client.post("/experiments", json=SPEC | {"name": "first", "priority": 70})
    assert answer.status_code == 202
    body = answer.json()
    assert answer.headers["location"] == f"/experiments/{body['id']}"
    assert body["state"] == "queued"
    assert (body["name"], body["owner"], body["dataset"], body["priority"]) == ("first", "local", "motion_shapes", 70)
    assert body["recipe"] is None
    assert body["progress"] == {"stages": {"ready": 1, "waiting": 4}, "total": 5}
    assert body["reused"] == 0
    with redis.Redis.from_url(redis_url) as broker:
        assert broker.llen("cpu") == 1


def test_detail_holds_the_whole_spec(client, submit):
    made = submit(seeds=[3])
    body = client.get(f"/experiments/{made['id']}").json()
    assert body["spec"]["seeds"] == [3]
    assert body["spec"]["model"]["kind"] == "ts_lstm"
    assert body["progress"]["total"] == 5


def test_recipe_with_overrides(client):
    body = client.post("/experiments", json={"recipe": "demo_ts_lstm", "training": {"epochs": 2}}).json()
    assert body["recipe"] == "demo_ts_lstm"
    spec = client.get(f"/experiments/{body['id']}").json()["spec"]
    assert spec["training"]["epochs"] == 2
    assert spec["training"]["batch_size"] == 32


def test_idempotency_key_replays_the_same_body_and_refuses_another(client):
    headers = {"Idempotency-Key": "run 1"}
    first = client.post("/experiments", json=SPEC, headers=headers)
    again = client.post("/experiments", json=dict(reversed(SPEC.items())), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = problem(client.post("/experiments", json=SPEC | {"seeds": [1]}, headers=headers), 409)
    assert "run 1" in other["detail"]
    assert first.json()["id"] in other["detail"]


def test_one_key_sent_many_times_at_once_makes_one_experiment(client):
    found: list[str] = []

    def send() -> None:
        found.append(client.post("/experiments", json=SPEC, headers={"Idempotency-Key": "k"}).json()["id"])

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    assert len(client.get("/experiments").json()["items"]) == 1


def test_shared_stages_are_reused(client, submit):
    submit()
    second = submit(model={"kind": "mean_pooling"})
    assert second["reused"] == 2
    stages = client.get(f"/experiments/{second['id']}/stages").json()
    assert [(stage["kind"], stage["reused"]) for stage in stages] == [
        ("index", True), ("extract", True), ("train", False), ("score", False), ("fuse", False),
    ]  # fmt: skip
    assert stages[1]["inputs"] == [stages[0]["key"]]
    train = stages[2]
    assert (train["split"], train["stream"], train["seed"], train["attempt"]) == (1, "rgb", 0, 0)
    assert train["progress"] is None


def test_stage_progress(client, submit, worker):
    made = submit()
    someone = worker()
    claim = someone.claim()
    someone.report(claim, done=3, total=9, unit="clips", message="decoding")
    stage = client.get(f"/experiments/{made['id']}/stages").json()[0]
    assert stage["state"] == "running"
    assert stage["progress"] == {"done": 3, "total": 9, "unit": "clips", "message": "decoding"}
    assert client.get(f"/experiments/{made['id']}").json()["state"] == "running"


def test_pages_follow_each_other_without_gap_or_repeat(client, submit):
    made = [submit(seeds=[seed])["id"] for seed in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = client.get("/experiments", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        assert page["total"] == 5
        cursor = page["next_cursor"]
    assert seen == made[::-1]
    assert cursor is None


def test_filters(client, submit):
    made = submit()
    client.post(f"/experiments/{made['id']}/cancel")
    kept = submit(seeds=[1])
    assert [item["id"] for item in client.get("/experiments?state=queued").json()["items"]] == [kept["id"]]
    assert [item["id"] for item in client.get("/experiments?state=cancelled").json()["items"]] == [made["id"]]
    assert client.get("/experiments?dataset=other").json() == {"items": [], "next_cursor": None, "total": 0}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=done", "state"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=%00", "cursor"),
        ("cursor=nonsense", "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"[1, 2]").decode(), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(json.dumps(["2026-01-01", "\0"]).encode()).decode(), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(json.dumps(["2026-01-01", "\ud800"]).encode()).decode(), "cursor"),
        ("cursor=" + "A" * 501, "cursor"),
        ("dataset=%00", "dataset"),
        ("model=ts-lstm", "model"),
    ],
)
def test_weird_queries_are_422(shared, query, field):
    found = problem(shared.get(f"/experiments?{query}"), 422)
    assert found["errors"][0]["field"] == field


@pytest.mark.parametrize("path", ["", "/stages", "/events", "/logs"])
def test_unknown_id_is_404(shared, path):
    found = problem(shared.get(f"/experiments/exp_nothing{path}"), 404)
    assert "exp_nothing" in found["detail"]
    assert found["instance"] == f"/experiments/exp_nothing{path}"


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_unknown_id_cannot_be_changed(shared, action):
    problem(shared.post(f"/experiments/exp_nothing/{action}"), 404)


def test_id_with_nul_is_422(shared):
    problem(shared.get("/experiments/a%00b"), 422)


def test_cancel_then_cancel_again_is_409(client, submit):
    made = submit()
    answer = client.post(f"/experiments/{made['id']}/cancel")
    assert answer.status_code == 202
    assert answer.json()["state"] == "cancelled"
    found = problem(client.post(f"/experiments/{made['id']}/cancel"), 409)
    assert "cancelled" in found["detail"]


def test_failure_names_its_cause_and_can_be_retried(client, submit, worker, redis_url):
    made = submit()
    someone = worker()
    someone.fail(someone.claim(), "/lists/trainlist01.txt line 3: no such clip")
    body = client.get(f"/experiments/{made['id']}").json()
    assert (body["state"], body["cause"]) == ("failed", "data_error")
    assert "trainlist01.txt line 3" in body["message"]
    with redis.Redis.from_url(redis_url) as broker:
        broker.flushall()
        answer = client.post(f"/experiments/{made['id']}/retry")
        assert broker.llen("cpu") == 1
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert answer.json()["cause"] is None
    someone.finish_all()
    assert client.get(f"/experiments/{made['id']}").json()["state"] == "succeeded"
    problem(client.post(f"/experiments/{made['id']}/retry"), 409)


def test_logs_as_text(client, submit, worker):
    made = submit()
    worker().finish_all()
    answer = client.get(f"/experiments/{made['id']}/logs")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.count("==> ") == 5
    stages = client.get(f"/experiments/{made['id']}/stages").json()
    for chosen in (stages[2]["name"], stages[2]["key"][:12]):
        text = client.get(f"/experiments/{made['id']}/logs", params={"stage": chosen}).text
        assert text.count("==> ") == 1
        assert "made train" in text
    answer = client.get(f"/experiments/{made['id']}/logs?stage=indx motion_shapes")
    assert answer.status_code == 404
    assert "no stage named 'indx motion_shapes'; hint: its stages are index motion_shapes; " in answer.json()["detail"]
    assert (
        client.get(f"/experiments/{made['id']}/logs", params={"stage": "fuse rgb, split 1, seed 0"}).status_code == 200
    )


@pytest.mark.parametrize(
    ("change", "field", "value", "allowed"),
    [
        ({"colour": "red"}, "colour", "red", ["recipe", "dataset", "splits", "streams", "model"]),
        ({"model": {"kind": "gru"}}, "model.kind", "gru", ["mean_pooling", "conv_lstm", "relational_lstm"]),
        ({"model": {"kind": "ts_lstm", "width": 3}}, "model.width", 3, ["segments", "hidden"]),
        ({"dataset": "kinetics"}, "dataset", "kinetics", ["motion_shapes"]),
        ({"recipe": "tsn"}, "recipe", "tsn", ["demo_ts_lstm", "ts_lstm_ucf101"]),
        ({"splits": [1, 4]}, "splits.1", 4, ["1 to 3"]),
        (
            {"training": {"optimizer": {"learning_rate": -0.1}}},
            "training.optimizer.learning_rate",
            -0.1,
            ["greater than 0"],
        ),
        ({"streams": []}, "streams", [], ["rgb", "flow", "1 to 2"]),
        ({"streams": ["depth"]}, "streams.0", "depth", ["rgb", "flow"]),
        ({"seeds": [10**30]}, "seeds.0", 10**30, ["less than 2147483648"]),
        ({"splits": [1, 1]}, "splits", [1, 1], ["each value once"]),
        ({"name": "a\0b"}, "name", "a\0b", ["NUL"]),
        ({"fusion": {"rgb": float("inf")}}, "fusion.rgb", "inf", ["finite"]),
    ],
)
def test_bad_input_names_field_value_and_what_is_allowed(shared, change, field, value, allowed):
    content = json.dumps(SPEC | change).encode()
    answer = shared.post("/experiments", content=content, headers={"content-type": "application/json"})
    found = problem(answer, 422)
    [error] = found["errors"]
    assert (error["field"], error["value"]) == (field, value)
    for words in allowed:
        assert words in error["allowed"]
    assert field in found["detail"]


def test_a_missing_file_of_weights_is_missed_at_once(shared, tmp_path):
    backbone = {"name": "tiny", "weights": str(tmp_path / "weights.pt")}
    found = problem(shared.post("/experiments", json=SPEC | {"backbone": backbone}), 422)
    [error] = found["errors"]
    assert (error["field"], error["value"]) == ("backbone.weights", str(tmp_path / "weights.pt"))
    assert error["allowed"] == "a file that is there"


def test_several_errors_at_once(shared):
    found = problem(shared.post("/experiments", json={"streams": [], "priority": 101}), 422)
    assert [error["field"] for error in found["errors"]] == ["dataset", "streams", "priority"]
    assert found["errors"][0]["value"] is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b'{"name": "\\ud800"}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"\xff\xfe{}",
    ],
)
def test_bodies_that_are_no_spec(shared, content):
    answer = shared.post("/experiments", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "any value" not in answer.text


def test_body_of_another_content_type_is_told_so(shared):
    found = problem(shared.post("/experiments", content=b"name: x", headers={"content-type": "text/yaml"}), 422)
    assert "JSON" in found["errors"][0]["allowed"]


def test_number_of_five_thousand_digits(shared):
    content = b'{"dataset": "motion_shapes", "priority": ' + b"9" * 5000 + b"}"
    found = problem(shared.post("/experiments", content=content, headers={"content-type": "application/json"}), 400)
    assert "numbers of at most 4300 digits" in found["detail"]


def test_results_by_stream_split_and_seed(client, submit, worker):
    made = submit(splits=[1, 2], streams=["rgb", "flow"])
    address = f"/experiments/{made['id']}/results"
    assert client.get(address).json() == []
    worker(0.75).finish_all()
    found = client.get(address).json()
    assert [(entry["stream"], entry["split"], entry["seed"]) for entry in found] == [
        (stream, split, seed)
        for stream in ("flow", "rgb", "two-stream")
        for split, seed in ((1, 0), (1, None), (2, 0), (2, None), (None, None))
    ]
    first, mean, *_, lacking = found
    values = {name: found["value"] for name, found in first["metrics"].items()}
    assert (values, first["clips"]) == ({"top1": 0.75, "top5": 1.0, "mean_class": 0.75}, 100)
    low, high = first["metrics"]["top1"]["confidence_interval"]
    assert low < 0.75 < high
    assert first["metrics"]["mean_class"] == {"value": 0.75, "std": None, "confidence_interval": None}
    assert (first["categories"], first["seeds"]) == ({}, 1)
    fuse = [stage for stage in client.get(f"/experiments/{made['id']}/stages").json() if stage["kind"] == "fuse"]
    assert first["stage_key"] == next(stage["key"] for stage in fuse if stage["split"] == 1)
    assert (mean["metrics"]["top1"]["value"], mean["stage_key"]) == (0.75, None)
    assert (lacking["metrics"], lacking["missing_splits"]) == ({}, [3])


def test_results_of_nothing_are_404(shared):
    problem(shared.get("/experiments/exp_nothing/results"), 404)


def test_an_experiment_of_finished_stages_alone_succeeds_as_it_is_submitted(client, submit, worker):
    submit(seeds=[1])
    worker().finish_all()
    made = submit(seeds=[1], name="again")
    assert (made["state"], made["reused"]) == ("succeeded", 5)
    assert made["finished_at"] == client.get(f"/experiments/{made['id']}").json()["finished_at"] is not None
