"""The linter at submission: what is wrong is refused with all findings, what is doubtful stands on results."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import SPEC


@pytest.fixture
def register(client, tmp_path):
    """Register a dataset of two classes; ``test`` are its test clips, ``there`` those in its folder."""

    def add(test: list[str], there: list[str] | None = None) -> None:
        lists, root = tmp_path / "lists", tmp_path / "clips"
        for folder in (lists, root / "Hop", root / "Run"):
            folder.mkdir(parents=True)
        train = ["Hop/v_Hop_g01_c01.avi", "Run/v_Run_g01_c01.avi"]
        (lists / "classInd.txt").write_text("1 Hop\n2 Run\n")
        (lists / "trainlist01.txt").write_text("".join(f"{clip} {1 + (clip[0] == 'R')}\n" for clip in train))
        (lists / "testlist01.txt").write_text("".join(f"{clip}\n" for clip in test))
        for clip in [*train, *test] if there is None else there:
            (root / clip).touch()
        body = {"name": "mine", "root": str(root), "annotations": str(lists), "splits": [1]}
        assert client.post("/datasets", json=body).status_code == 201

    return add


def findings(answer: Any) -> list[tuple[str, str, str]]:
    return [(found["code"], found["severity"], found["field"]) for found in answer.json()["findings"]]


SOUND = ["Hop/v_Hop_g02_c01.avi", "Run/v_Run_g02_c01.avi"]
MINE = SPEC | {"dataset": "mine"}


def test_sound_lists_are_taken(client, register):
    register(SOUND)
    assert findings(client.post("/experiments?dry_run=true", json=MINE)) == []
    assert client.post("/experiments", json=MINE).json()["flags"] == []


def test_a_planted_leak_and_a_missing_clip_are_refused_with_all_findings(client, register):
    register(["Hop/v_Hop_g01_c02.avi", "Run/v_Run_g02_c01.avi"], there=[])
    expected = [("missing_clips", "refused", "dataset"), ("group_on_both_sides", "refused", "splits")]
    tried = client.post("/experiments?dry_run=true", json=MINE)
    assert (tried.status_code, findings(tried)) == (200, expected)
    answer = client.post("/experiments", json=MINE)
    assert (answer.status_code, findings(answer)) == (422, expected)
    assert "split 1: group 1 of Hop is trained and tested on" in answer.json()["detail"]
    assert client.get("/experiments").json()["items"] == []


def test_a_launch_that_would_be_refused_is_told_so_by_its_dry_run(client, register):
    register(["Hop/v_Hop_g01_c02.avi", "Run/v_Run_g02_c01.avi"])
    body = {"rows": ["TS3 BN Max+LSTM512 BN FC101"], "dataset": "mine", "backbone": "tiny"}
    tried = client.post("/papers/ts_lstm/tables/3/launch?dry_run=true", json=body)
    assert tried.status_code == 200, tried.text
    answer = client.post("/papers/ts_lstm/tables/3/launch", json=body)
    assert answer.status_code == 422
    assert ("group_on_both_sides", "refused", "splits") in findings(answer)
    assert findings(tried) == findings(answer)


def test_a_flag_stands_on_the_experiment_its_results_and_the_board(client, worker):
    body = {"recipe": "demo_ts_lstm", "splits": [1], "streams": ["rgb"], "evaluation": {"frames": 10}}
    submitted = client.post("/experiments", json=body).json()
    [flag] = submitted["flags"]
    assert (flag["code"], flag["severity"], flag["field"]) == ("protocol_not_recipes", "flagged", "evaluation")
    assert flag["sentence"].startswith("rgb: frames differ from the recipe's test: 25 frames")
    worker().finish_all()
    assert client.get(f"/experiments/{submitted['id']}").json()["flags"] == [flag]
    for result in client.get(f"/experiments/{submitted['id']}/results").json():
        assert result["flags"] == [flag]
    board = client.get("/leaderboard?dataset=motion_shapes&split=1&stream=rgb").json()
    assert [row["flags"] for row in board["rows"]] == [[flag]]
    assert [
        row["flags"] for row in client.get("/leaderboard?dataset=motion_shapes&stream=rgb").json()["incomplete"]
    ] == [[flag]]
