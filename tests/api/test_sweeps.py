"""Sweeps over HTTP: begun once, looked at as JSON, page, CSV and pictures, refused with what is allowed."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from sqlalchemy import update

from services.db.tables import SweepRow, SweepTrialRow
from tests.api.conftest import SPEC

RATE = "training.optimizer.learning_rate"
SWEEP: dict[str, Any] = {
    "name": "=search",
    "experiment": SPEC,
    "space": {RATE: {"low": 1e-4, "high": 1e-1, "log": True}, "model.segments": {"choices": [1, 3, 5]}},
    "budget": {"trials": 9},
}
HTML = {"Accept": "text/html"}


@pytest.fixture
def begun(client) -> str:
    answer = client.post("/sweeps", json=SWEEP, headers={"Idempotency-Key": "one"})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/sweeps/{answer.json()['id']}"
    found: str = answer.json()["id"]
    return found


@pytest.fixture
def ended(begun, database) -> str:
    """A sweep whose trials have ended, as its turns write it."""
    with database.transaction() as session:
        for number in range(9):
            values = {RATE: 10.0 ** (-4 + number / 3), "model.segments": (1, 3, 5)[number % 3]}
            state = "pruned" if number == 4 else "succeeded"
            value = 0.5 + 0.04 * number - 0.05 * (number % 3)
            session.add(SweepTrialRow(sweep_id=begun, number=number, values=values, state=state, value=value))
        session.execute(update(SweepRow).values(state="succeeded", best_trial=8))
    return begun


def test_the_same_key_begins_it_once(client, begun):
    again = client.post("/sweeps", json=SWEEP, headers={"Idempotency-Key": "one"})
    assert (again.json()["id"], again.headers["Idempotency-Replayed"]) == (begun, "true")
    other = client.post("/sweeps", json=SWEEP | {"parallel": 3}, headers={"Idempotency-Key": "one"})
    assert other.status_code == 409
    assert client.get("/sweeps", params={"id": begun[:8], "state": "running"}).json()["total"] == 1
    found = client.get(f"/sweeps/{begun}").json()
    assert (found["state"], found["planned"], found["results"], found["importance"]) == ("running", 9, [], {})
    assert found["spec"]["space"][RATE] == {"low": 1e-4, "high": 0.1, "log": True}
    cancelled = client.post(f"/sweeps/{begun}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelling")


def test_it_is_shown_as_json_page_csv_and_pictures(client, ended):
    found = client.get(f"/sweeps/{ended}").json()
    assert found["trials"] == {"succeeded": 8, "pruned": 1}
    assert list(found["importance"]) == [RATE, "model.segments"]
    assert sum(found["importance"].values()) == pytest.approx(1, abs=1e-5)
    assert [each["available"] for each in found["figures"]] == [True, True]
    page = client.get(f"/sweeps/{ended}", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    for words in ("=search", "8 succeeded", "1 pruned", "What mattered", f"/sweeps/{ended}/figures/contour.svg"):
        assert words in page.text
    assert f'href="/sweeps/{ended}"' in client.get("/sweeps", headers=HTML).text
    table = client.get(f"/sweeps/{ended}/trials", params={"format": "csv"})
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [(row["trial"], row["state"], row["model.segments"]) for row in rows][3:5] == [
        ("3", "succeeded", "1"),
        ("4", "pruned", "3"),
    ]
    assert float(rows[0][RATE]) == 1e-4
    assert client.get(f"/sweeps/{ended}/trials").json() == found["results"]
    for name, form, query in (("importance", "svg", {}), ("contour", "png", {"x": "model.segments", "theme": "dark"})):
        drawn = client.get(f"/sweeps/{ended}/figures/{name}.{form}", params=query)
        assert drawn.status_code == 200, drawn.text
        assert drawn.content == client.get(f"/sweeps/{ended}/figures/{name}.{form}", params=query).content
        known = {"If-None-Match": f'"other", {drawn.headers["etag"]}'}
        assert client.get(f"/sweeps/{ended}/figures/{name}.{form}", params=query, headers=known).status_code == 304
    for query, field in (({"x": "nope"}, "x"), ({"x": RATE, "y": RATE}, "y")):
        refused = client.get(f"/sweeps/{ended}/figures/contour.svg", params=query)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, field)


def test_a_dry_run_says_what_trials_share_and_begins_nothing(client):
    body = SWEEP | {"sampler": {"kind": "random"}, "budget": {"trials": 40}}
    answer = client.post("/sweeps", json=body, params={"dry_run": "true"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["trials"], found["planned"], found["points"], found["name"]) == (40, 32, None, "=search")
    assert found["spec"]["space"][RATE] == {"low": 1e-4, "high": 0.1, "log": True}
    kinds = [stage["kind"] for stage in found["trial"]["stages"]]
    assert kinds == ["index", "extract", "train"], "a trial is not tested"
    assert [stage["kind"] for stage in found["best"]["stages"]] == ["index", "extract", "train", "score", "fuse"]
    assert found["shared"] == 2
    assert found["total"] == 2 + 40 + 3
    assert (found["reused"], found["seconds"]) == (0, 0)
    assert len(found["unknown"]) == 5, "each name once: nothing of the kind has run"
    assert client.get("/sweeps").json()["total"] == 0
    assert client.get("/experiments").json()["total"] == 0
    refused = client.post("/sweeps", json=body, params={"dry_run": "true"}, headers={"Idempotency-Key": "one"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "Idempotency-Key")
    wrong = client.post("/sweeps", json=body | {"parallel": 0}, params={"dry_run": "true"})
    assert wrong.json()["errors"][0]["field"] == "parallel"


def test_what_is_not_there_is_404(shared):
    for path in ("", "/trials", "/figures/contour.svg"):
        answer = shared.get(f"/sweeps/swp_0{path}")
        assert (answer.status_code, "no sweep named 'swp_0'" in answer.json()["detail"]) == (404, True)
    assert shared.post("/sweeps/swp_0/cancel").status_code == 404


REFUSED: list[tuple[dict[str, Any], str, object, str]] = [
    ({"space": {"model.segmnts": {"choices": [1]}}}, "space.model.segmnts", "model.segmnts", "model.segments"),
    ({"space": {RATE: {"low": 1}}}, f"space.{RATE}", {"low": 1}, "choices, or low and high"),
    ({"space": {"model.segments": {"choices": [3, "x"]}}}, "space.model.segments", "x", "an integer from 1 to 25"),
    ({"space": {"model.segments": {"choices": [3, 9]}, "evaluation.frames": {"choices": [25, 7]}}},
     "space.model.segments", 9, "1 to evaluation.frames = 7; with evaluation.frames = 7"),
    ({"space": {"evaluation.frames": {"choices": [25, 2]}}}, "space", {"evaluation.frames": 2}, "model.segments: 1 to"),
    ({"experiment": {**SPEC, "training": {"epochs": 0}}}, "experiment.training.epochs", 0, "from 1 to 10000"),
    ({"experiment": {**SPEC, "dataset": "nope"}}, "experiment.dataset", "nope", "motion_shapes"),
    ({"experiment": {"recipe": "nope"}}, "experiment.recipe", "nope", "demo_ts_lstm"),
    ({"sampler": {"kind": "bayes"}}, "sampler.kind", "bayes", "one of grid, random, tpe"),
    ({"budget": {}}, "budget", {}, "trials, gpu_hours, or both"),
    ({"parallel": 0}, "parallel", 0, "an integer from 1 to 64"),
    ({"pruned": True}, "pruned", True, "one of name, experiment, space"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "value", "allowed"), REFUSED, ids=[field for _, field, *_ in REFUSED])
def test_a_refusal_names_field_value_and_what_is_allowed(shared, changes, field, value, allowed):
    answer = shared.post("/sweeps", json=SWEEP | changes)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert (error["field"], error["value"]) == (field, value)
    assert allowed in error["allowed"]
