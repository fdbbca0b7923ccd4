"""What a run leaves: complete, honest about what nobody knows, and repeatable by its one command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services import recipes
from services.db.engine import Database
from services.db.tables import ExperimentRow
from services.queue import attempts
from services.queue.claim import claim
from services.recipes.deviations import DEVIATIONS
from services.recipes.difference import body
from services.specs import ExperimentSpec
from services.version import code_revision
from worker.host.environment import environment

MARKDOWN = {"Accept": "text/markdown"}


def run_stage(database: Database, where: dict[str, Any] | None, **summary: Any) -> str:
    """Claim the next stage as a worker does, and end it."""
    with database.transaction() as session:
        found = claim(session, ("cpu", "gpu"), worker_id="w", device="cuda:0", lease_seconds=60, environment=where)
    assert found is not None
    with database.transaction() as session:
        usage = attempts.Usage(3_000_000, None, 20)
        attempts.succeed(session, found.key, found.attempt, summary=summary, output="o", log="", usage=usage)
    return found.key


def index_summary() -> dict[str, Any]:
    return {"clips": 7, "lists": "1" * 64, "digest": "2" * 64, "shared": [], "findings": []}


def test_a_report_has_all_that_a_run_leaves(client: TestClient, database: Database, submit) -> None:
    made = submit(recipe="tsn_ucf101", backbone={"name": "tiny", "weights": "none"}, evaluation={"frames": 5})
    where = environment()
    index = run_stage(database, where, **index_summary())
    train = run_stage(database, {**where, "gpus": ["H200"]}, data_wait_ratio=0.25)
    found = client.get(f"/experiments/{made['id']}/report").json()
    assert found["experiment"] == client.get(f"/experiments/{made['id']}").json()
    assert found["code_revision"] == code_revision()
    [manifest] = found["manifests"]
    assert (manifest["dataset"], manifest["digest"], manifest["clips"]) == ("motion_shapes", "2" * 64, 7)
    [protocol] = found["protocols"]
    assert protocol["stream"] == "rgb"
    assert protocol["protocol"]
    assert found["deviations"] == dict(DEVIATIONS["tsn_ucf101"])
    assert [entry["gpus"] for entry in found["environments"]] == [[], ["H200"]]
    assert found["environments"][0]["libraries"]["torch"] == where["libraries"]["torch"]
    stages = {stage["key"]: stage for stage in found["stages"]}
    assert [entry["environment"] for key in (index, train) for entry in stages[key]["attempts"]] == [0, 1]
    assert stages[train]["data_wait_ratio"] == 0.25
    assert stages[train]["attempts"][0]["usage"] == {
        "memory_bytes": 3_000_000,
        "gpu_memory_bytes": None,
        "disk_bytes": 20,
    }
    assert stages[train]["attempts"][0]["seconds"] > 0
    assert [flag["code"] for flag in found["experiment"]["flags"]] == ["protocol_not_recipes"]
    again = json.loads(found["command"].splitlines()[1])
    assert again == found["submission"]
    assert again["recipe"] == "tsn_ucf101"
    assert client.post("/experiments", json=again).json()["reused"] == len(found["stages"])


def test_a_page_of_it_is_safe_markdown(client: TestClient, database: Database, submit) -> None:
    made = submit()
    with database.transaction() as session:  # no name has a line end today, but those of before
        session.get_one(ExperimentRow, made["id"]).name = "a | `b`\n# c <i>"
    run_stage(database, environment(), **index_summary())
    page = client.get(f"/experiments/{made['id']}/report", headers=MARKDOWN)
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text == client.get(f"/experiments/{made['id']}/report?format=markdown").text
    lines = page.text.splitlines()
    assert lines[0] == r"# a \| \`b\` \# c \<i\>"
    assert "2" * 64 in page.text
    table = lines[lines.index("## Attempts") + 2 :]
    rows = table[: table.index("")]
    assert {row.count("|") - row.count(r"\|") for row in rows} == {rows[0].count("|")}
    assert "twostream submit - <<'SPEC'" in lines
    assert client.get(f"/experiments/{made['id']}/report?format=json", headers=MARKDOWN).json()["command"]


def test_what_nobody_knows_is_null(client: TestClient, database: Database, submit) -> None:
    made = submit()
    with database.transaction() as session:
        session.get_one(ExperimentRow, made["id"]).code_revision = None
    run_stage(database, None, **index_summary())
    found = client.get(f"/experiments/{made['id']}/report").json()
    assert (found["code_revision"], found["environments"], found["deviations"]) == (None, [], {})
    assert found["stages"][0]["attempts"][0]["environment"] is None
    assert found["stages"][1]["attempts"] == []
    assert "code: unknown" in client.get(f"/experiments/{made['id']}/report", headers=MARKDOWN).text


def test_of_nothing_there_is_no_report(client: TestClient) -> None:
    answer = client.get("/experiments/exp_0/report")
    assert (answer.status_code, answer.json()["detail"]) == (404, "no experiment named 'exp_0'")
    wrong = client.get("/experiments/exp_0/report?format=pdf")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "format")


def test_each_recipe_is_repeated_by_its_name() -> None:
    for name, recipe in recipes.RECIPES.items():
        assert body(recipe.spec.model_dump(mode="json"), name) == {"recipe": name}


def test_a_spec_that_its_recipe_no_longer_makes_is_repeated_in_full() -> None:
    spec = {**recipes.RECIPES["tsn_ucf101"].spec.model_dump(mode="json"), "dropped_since": 1}
    whole = {name: value for name, value in spec.items() if name != "refresh"}
    assert body(spec, "tsn_ucf101") == whole
    assert body(spec, "forgotten_since") == whole
    old = recipes.RECIPES["tsn_ucf101"].spec
    changed = ExperimentSpec.model_validate({**old.model_dump(), "seeds": (4,)}).model_dump(mode="json")
    assert body(changed, "tsn_ucf101") == {"recipe": "tsn_ucf101", "seeds": [4]}


@pytest.mark.parametrize("recipe", [{"recipe": "demo_ts_lstm"}, {}])
def test_the_command_registers_no_dataset_anew(client: TestClient, submit, recipe: dict[str, str]) -> None:
    """Who repeats an experiment wants its numbers: lists that have changed since are refused."""
    made = submit(**recipe, refresh=True)
    again = client.get(f"/experiments/{made['id']}/report").json()["submission"]
    assert "refresh" not in again
    assert again.get("recipe") == recipe.get("recipe")


def test_a_report_of_a_papers_row_names_what_the_paper_leaves_open(client: TestClient) -> None:
    small = {"dataset": "motion_shapes", "backbone": "tiny", "epochs": 1, "batch_size": 8, "flow": "dis"}
    row = "TS3 BN Max+LSTM512 BN FC101"
    launched = client.post("/papers/ts_lstm/tables/3/launch", json={"rows": [row], **small}).json()
    [made] = launched["experiments"]
    found = client.get(f"/experiments/{made['id']}/report").json()["deviations"]
    [line] = [each for each in client.get("/papers/ts_lstm/tables/3").json()["rows"] if each["row"] == row]
    assert found == line["deviations"]
    assert {"rates", "peepholes", "state", "flow_bytes"} <= found.keys()
    assert "selection" not in found, "its epoch is chosen as the paper's was"


def test_a_deviation_that_an_experiment_takes_back_is_none(client: TestClient, submit) -> None:
    reduced = {"backbone": {"name": "tiny", "weights": "none", "finetune": None}, "streams": ["rgb"]}
    for selection, expected in (("last", True), ("test", False)):
        made = submit(recipe="ts_lstm_ucf101", **reduced, training={"selection": selection})
        report = client.get(f"/experiments/{made['id']}/report").json()
        assert ("selection" in report["deviations"]) is expected
