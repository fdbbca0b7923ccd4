"""Whatever a request names that is not there: the field, its value, and the nearest names that are."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

BOARD = "/leaderboard?dataset=motion_shapes"
MISSPELT: list[tuple[str, str, str, str]] = [
    ("/leaderboard?dataset=motion_shape", "dataset", "motion_shape", "motion_shapes"),
    (f"{BOARD}&split=4", "split", "4", "mean, 1, 2 or 3"),
    (f"{BOARD}&stream=two_stream", "stream", "two_stream", "two-stream"),
    (f"{BOARD}&metric=top-1", "metric", "top-1", "top1"),
    (f"{BOARD}&model=ts_lsmt", "model", "ts_lsmt", "ts_lstm"),
    (f"{BOARD}&source=ensembles", "source", "ensembles", "ensemble"),
    (f"{BOARD}&selected_on_test=flags", "selected_on_test", "flags", "flag"),
    (f"{BOARD}&format=tex", "format", "tex", "latex"),
    ("/compare?left={a}&right={b}&dataset=motion_shape", "dataset", "motion_shape", "motion_shapes"),
    ("/compare?left={a}&right={b}&split=5", "split", "5", "mean, 1, 2 or 3"),
    ("/compare?left={a}&right={b}&stream=flows", "stream", "flows", "flow"),
    ("/compare?left={a}&right={b}&stream=flow", "stream", "flow", "rgb"),
    ("/compare?left={a}&right={b}&stream=rgb&split=2", "split", "2", "1, mean"),
    ("/compare/controlled?baseline={a}&others={b}&stream=flow", "stream", "flow", "rgb"),
    ("/experiments/{a}/fusion/sweep?split=4", "split", "4", "3"),
    ("/experiments/{a}/model?split=2", "split", "2", "1"),
    ("/ensembles/suggest?dataset=motion_shape", "dataset", "motion_shape", "motion_shapes"),
    ("/ensembles/suggest?dataset=motion_shapes&method=products", "method", "products", "product"),
    ("/experiments?state=finished", "state", "finished", "succeeded"),
]
"""A request, the field that is wrong, its value, and what the answer must name."""
ABSENT: list[tuple[str, str, str]] = [
    ("/papers/ts_lst", "paper", "ts_lstm"),
    ("/papers/ts_lstm/tables/33", "table of paper ts_lstm", "3"),
    ("/recipes/demo_ts_lsm", "recipe", "demo_ts_lstm"),
    ("/datasets/motion_shape", "dataset", "motion_shapes"),
    ("/experiments/{a}/figures/confusions.png", "figure", "confusion"),
    ("/results/999999", "result", "/results"),
    ("/experiments/{a}/logs?stage=tran", "stage", "train"),
    (f"{BOARD}&stream=rgb&protocol=another", "protocol", "frames"),
]
"""A request for what is not there, what that is, and what the answer must name."""
BODIES: list[tuple[str, dict[str, Any], str, str]] = [
    ("/experiments", {"recipe": "demo_ts_lsm"}, "recipe", "demo_ts_lstm"),
    ("/experiments", {"recipe": "demo_ts_lstm", "dataset": "motion_shape"}, "dataset", "motion_shapes"),
    ("/experiments", {"recipe": "demo_ts_lstm", "model": {"kind": "ts_lsmt"}}, "model.kind", "ts_lstm"),
    ("/papers/ts_lstm/launch", {"rows": ["TS-LST"]}, "rows.0", "TS-LSTM"),
    (
        "/experiments",
        {"dataset": "motion_shapes", "members": [{"recipe": "demo_ts_lsm", "stream": "rgb"}] * 2},
        "members.0.recipe",
        "demo_ts_lstm",
    ),
]


@pytest.fixture
def measured(client: TestClient, submit: Any, worker: Any) -> dict[str, str]:
    """Ids of two experiments on the same clips."""
    found = {name: submit(name=name, seeds=[seed])["id"] for seed, name in enumerate("ab")}
    worker().finish_all()
    return found


def test_every_name_that_is_not_there_is_answered_with_the_nearest(
    client: TestClient, measured: dict[str, str]
) -> None:
    wrong = []
    for path, field, value, expected in MISSPELT:
        answer = client.get(path.format(**measured))
        said = next((each for each in answer.json().get("errors", []) if each["field"] == field), None)
        if answer.status_code != 422 or said is None or str(said["value"]) != value or expected not in said["allowed"]:
            wrong.append((path, answer.status_code, answer.json().get("detail")))
    for path, what, expected in ABSENT:
        answer = client.get(path.format(**measured))
        detail = answer.json().get("detail", "")
        if answer.status_code != 404 or not detail.startswith(f"no {what} named") or expected not in detail:
            wrong.append((path, answer.status_code, detail))
    for path, body, field, expected in BODIES:
        answer = client.post(path, json=body)
        said = next((each for each in answer.json().get("errors", []) if each["field"] == field), None)
        if answer.status_code != 422 or said is None or expected not in said["allowed"]:
            wrong.append((path, answer.status_code, answer.json().get("detail")))
    assert wrong == []
