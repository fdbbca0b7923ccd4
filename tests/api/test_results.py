"""A result in full, over HTTP."""

from __future__ import annotations

import pytest

from tests import said

CLASSES, LABELS = ("Hop", "Run"), [0, 0, 0, 1, 1, 1]
IDS = [f"{CLASSES[label]}/v_g{place:02d}_c01" for place, label in enumerate(LABELS)]


def answers(split, seed):
    return said.summary(CLASSES, LABELS, [0, 0, 1, 0, 0, 0], confidences=[0.8] * 6, ids=IDS, split=split, seed=seed)


def test_a_result_in_full(client, database):
    made = said.run(database, answers)
    rows = client.get(f"/experiments/{made}/results").json()
    one = next(row for row in rows if row["seed"] == 0)
    answer = client.get(f"/results/{one['id']}")
    found = answer.json()
    assert {name: found[name] for name in one} == one
    assert (found["experiment_id"], found["dataset"], found["model"]) == (made, "motion_shapes", "ts_lstm")
    assert found["classes"][0] == {"name": "Hop", "category": None, "clips": 3, "top1": pytest.approx(2 / 3)}
    assert found["confusion"] == [[2, 1], [0, 3]]
    assert found["calibration"]["error"] == pytest.approx(abs(5 / 6 - 0.8), abs=1e-4)
    assert len(found["calibration"]["bins"]) == 15
    assert found["hardest"][0] == {
        "clip": IDS[2], "split": 1, "label": "Hop", "predicted": "Run", "rank": 1.0,
        "confidence": pytest.approx(0.8, abs=1e-4),
    }  # fmt: skip
    assert (found["units"], found["num_units"], found["notes"]) == ("groups", 6, [])
    assert client.get(f"/results/{one['id']}").content == answer.content
    assert len(client.get(f"/results/{one['id']}", params={"hardest": 1}).json()["hardest"]) == 1
    mean = next(row for row in rows if row["split"] is None)
    assert client.get(f"/results/{mean['id']}").json()["notes"] == ["no mean: split 2, 3 is missing"]


@pytest.mark.parametrize(
    ("address", "status"), [("999", 404), ("0", 422), ("x", 422), ("9" * 30, 422), ("1?hardest=201", 422)]
)
def test_wrong_addresses_are_refused(shared, address, status):
    assert shared.get(f"/results/{address}").status_code == status
