"""The leaderboard: ranks within a protocol, names what a mean lacks."""

from __future__ import annotations

import pytest


def get(client, **query):
    return client.get("/leaderboard", params={"dataset": "motion_shapes", "stream": "rgb"} | query)


def test_ranks_complete_means_and_names_missing_splits(client, submit, worker):
    better = submit(name="better", splits=[1, 2, 3], model={"kind": "ts_lstm"})
    worker(0.75).finish_all()
    worse = submit(name="worse", splits=[1, 2, 3], model={"kind": "mean_pooling"})
    worker(0.5).finish_all()
    part = submit(name="part", splits=[2], model={"kind": "max_pooling"})
    worker(0.9).finish_all()
    body = get(client).json()
    assert (body["dataset"], body["split"], body["stream"], body["metric"]) == (
        "motion_shapes", "mean", "rgb", "top1",
    )  # fmt: skip
    assert [(row["rank"], row["experiment_id"], row["value"]) for row in body["rows"]] == [
        (1, better["id"], 0.75), (2, worse["id"], 0.5),
    ]  # fmt: skip
    first = body["rows"][0]
    assert first["splits"] == {"1": 0.75, "2": 0.75, "3": 0.75}
    assert (first["name"], first["model"], first["missing_splits"], first["seeds"]) == ("better", "ts_lstm", [], 1)
    low, high = first["confidence_interval"]
    assert 0 <= low < 0.75 < high <= 1
    [lacking] = body["incomplete"]
    assert (lacking["experiment_id"], lacking["value"], lacking["rank"]) == (part["id"], None, None)
    assert lacking["missing_splits"] == [1, 3]
    assert lacking["splits"] == {"2": 0.9}
    second_split = get(client, split="2").json()
    assert [row["experiment_id"] for row in second_split["rows"]] == [part["id"], better["id"], worse["id"]]
    assert get(client, limit=1).json()["rows"] == body["rows"][:1]


def test_other_protocols_are_named_and_not_mixed(client, submit, worker):
    submit(splits=[1])
    submit(splits=[1], seeds=[1])
    other = submit(splits=[1], evaluation={"frames": 10})
    worker().finish_all()
    body = get(client, split="1").json()
    assert len(body["rows"]) == 2
    assert body["protocol"].startswith("25 frames")
    [(name, count)] = body["other_protocols"].items()
    assert (name[:9], count) == ("10 frames", 1)
    [row] = get(client, split="1", protocol=name).json()["rows"]
    assert row["experiment_id"] == other["id"]


def test_an_epoch_chosen_on_the_test_list_is_flagged_and_ranked_only_if_asked(client, submit, worker):
    made = submit(splits=[1], training={"selection": "test"})
    worker().finish_all()
    assert get(client, split="1").json()["rows"] == []
    [row] = get(client, split="1", selected_on_test="flag").json()["rows"]
    assert (row["experiment_id"], row["selected_on_test"]) == (made["id"], True)
    results = client.get(f"/experiments/{made['id']}/results").json()
    assert {result["selected_on_test"] for result in results} == {True}


def test_empty_board(shared):
    body = get(shared).json()
    assert (body["rows"], body["incomplete"], body["protocol"]) == ([], [], None)


@pytest.mark.parametrize(
    ("query", "field", "allowed"),
    [
        ({"split": "4"}, "split", "mean, 1, 2 or 3"),
        ({"stream": "depth"}, "stream", "rgb, flow or two-stream"),
        ({"selected_on_test": "maybe"}, "selected_on_test", "exclude or flag"),
        ({"metric": "loss"}, "metric", "top1, top5 or mean_class"),
        ({"limit": "0"}, "limit", "greater than or equal to 1"),
        ({"limit": "9" * 40}, "limit", "less than or equal to 1000"),
        ({"dataset": "a\0"}, "dataset", "match"),
        ({"protocol": "a\0"}, "protocol", "match"),
        ({"dataset": ""}, "dataset", "at least 1 character"),
        ({"dataset": "ucf1O1"}, "dataset", "motion_shapes"),
    ],
)
def test_bad_queries_are_422(shared, query, field, allowed):
    answer = get(shared, **query)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert allowed in error["allowed"]


def test_dataset_is_needed(shared):
    answer = shared.get("/leaderboard")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "dataset"
