"""`GET /ensembles/suggest`: of what has finished, with the spec that can be submitted, and refusals in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.settings import Settings
from tests.api.finished import Publisher
from tests.api.test_scores import as_npz, scores, send


def asked(client: Any, **query: Any) -> Any:
    return client.get("/ensembles/suggest", params={"dataset": "motion_shapes", **query})


def test_streams_that_have_finished_are_candidates(client: Any, submit: Any, worker: Any, settings: Settings) -> None:
    none = asked(client)
    assert none.status_code == 409
    assert "has 0 finished streams with scores of seed 0, needed: 2" in none.json()["detail"]
    ids = [submit(name=name, model={"kind": kind})["id"] for name, kind in (("a", "mean_pooling"), ("b", "ts_lstm"))]
    Publisher(worker(), Path(settings.artifacts)).finish_all()
    submit(name="not finished", model={"kind": "lstm"})
    answer = asked(client, members=2)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [each["experiment"] for each in found["candidates"]] == ids[::-1], "the newest first"
    assert {each["stream"] for each in found["candidates"]} == {"rgb"}
    assert [size["members"] for size in found["curve"]] == [1, 2]
    assert (found["chosen_on"], found["complete"], found["size"], found["spec"]) == (
        "groups of test clips",
        True,
        1,
        None,
    ), "both say the same"
    assert found["members"] == found["candidates"][:1]
    assert asked(client, seed=3).status_code == 409
    assert asked(client, method="logits").status_code == 409


def test_what_test_clips_chose_or_was_withdrawn_is_no_candidate(
    client: Any, submit: Any, worker: Any, settings: Settings
) -> None:
    kinds = {"a": "mean_pooling", "b": "ts_lstm", "withdrawn": "lstm"}
    ids = {name: submit(name=name, model={"kind": kind})["id"] for name, kind in kinds.items()}
    ids["tuned"] = submit(name="tuned", training={"epochs": 3, "selection": "test"})["id"]
    Publisher(worker(), Path(settings.artifacts)).finish_all()
    gone = client.post(f"/experiments/{ids['withdrawn']}/withdraw", json={"reason": "wrong"})
    assert gone.status_code == 200, gone.text
    found = asked(client).json()
    assert {each["name"] for each in found["candidates"]} == {"a", "b"}
    [left] = found["left_out"]
    assert (left["name"], left["reason"].startswith("its epoch was chosen on the test list")) == ("tuned", True)
    flagged = asked(client, selected_on_test="flag").json()
    assert {each["name"] for each in flagged["candidates"]} == {"a", "b", "tuned"}


def test_probabilities_are_left_out_where_logits_are_fused(
    client: Any, submit: Any, worker: Any, settings: Settings
) -> None:
    plain = submit(name="plain")["id"]
    Publisher(worker(), Path(settings.artifacts)).finish_all()
    brought = [
        send(client, as_npz(scores=scores(seed)), kind="logits", file_type="npz").json()["id"] for seed in (1, 2)
    ]
    found = asked(client, method="logits").json()
    assert {each["scores"] for each in found["candidates"]} == set(brought)
    assert [(each["experiment"], each["reason"]) for each in found["left_out"]] == [
        (plain, "its scores are probabilities, and method is logits")
    ]


def test_what_is_not_there_is_named(client: Any) -> None:
    wrong = asked(client, dataset="motion_shape")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "dataset")
    assert "motion_shapes" in wrong.json()["detail"]
    for field, value in (("split", 4), ("members", 17), ("method", "sum"), ("seed", -1)):
        wrong = asked(client, **{field: value})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, field)
