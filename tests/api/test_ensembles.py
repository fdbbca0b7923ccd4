"""Ensembles: planned into the graph that is there, ranked with what they are, refused with their members' names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.api.test_scores import CLASSES, CLIPS, as_npz, scores, send

ENSEMBLE: dict[str, Any] = {"name": "both", "dataset": "motion_shapes", "splits": [1], "method": "product"}
NOBODY = "exp_0123456789"
NO_ENSEMBLE = "an experiment on motion_shapes that is no ensemble"


@pytest.fixture
def brought(client: Any) -> str:
    """Id of a score file of split 1."""
    found: str = send(client, as_npz(), file_type="npz").json()["id"]
    return found


def stages_of(client: Any, made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in client.get(f"/experiments/{made['id']}/stages").json()}


def post(client: Any, *members: dict[str, Any], **changes: Any) -> Any:
    return client.post("/experiments", json=ENSEMBLE | {"members": members} | changes)


def test_members_share_the_stages_that_are_there(client: Any, submit: Any, brought: str, worker: Any) -> None:
    alone = submit()
    members = ({"experiment": alone["id"], "stream": "rgb", "weight": 2}, {"scores": [brought]})
    made = post(client, *members)
    assert made.status_code == 202, made.text
    before, stages = stages_of(client, alone), stages_of(client, made.json())
    fused = stages["fuse 2 systems, split 1, seed 0"]
    [score] = [stage for stage in before.values() if stage["kind"] == "score"]
    assert fused["inputs"] == [score["key"], brought]
    shared = {stage["key"] for stage in before.values()} - {before["fuse rgb, split 1, seed 0"]["key"]}
    assert {stage["key"] for stage in stages.values()} == shared | {brought, fused["key"]}
    assert stages["uploaded elsewhere flow, split 1"]["state"] == "succeeded"
    assert made.json()["reused"] == len(shared) + 1
    ended = worker(top1=0.9)
    ended.results = lambda claim: [  # type: ignore[method-assign]
        {
            "stream": "two-stream" if claim.params.get("members") else "rgb",
            "split": 1,
            "seed": 0,
            "metrics": {"top1": 0.9, "top5": 1.0, "mean_class": 0.9, "correct": 9, "clips": 10},
        }
    ]
    ended.finish_all()
    results = client.get(f"/experiments/{made.json()['id']}/results").json()
    assert {(result["stream"], result["source"], result["uploaded"]) for result in results} == {
        ("two-stream", "ensemble", True)
    }
    board = client.get("/leaderboard", params={"dataset": "motion_shapes", "split": "1"}).json()
    [entry] = board["rows"]
    assert (entry["source"], entry["uploaded"], entry["model"]) == ("ensemble", True, "ensemble (uploaded)")
    assert board["protocol"].startswith("ensemble of 2, product, weights 1 : 2, protocol ")
    again = client.get("/leaderboard", params={"dataset": "motion_shapes", "split": "1", "protocol": board["protocol"]})
    assert again.json()["rows"] == [entry]
    [other] = client.get("/leaderboard?dataset=motion_shapes&split=1&stream=rgb").json()["rows"]
    assert (other["source"], other["uploaded"]) == ("experiment", False)


def test_score_files_alone_are_a_system(client: Any, brought: str) -> None:
    made = post(client, {"scores": [brought]})
    assert made.status_code == 202, made.text
    assert {"fuse 1 system, split 1, seed 0"} <= stages_of(client, made.json()).keys()
    [error] = post(client, {"recipe": "demo_mean_pooling", "stream": "two-stream"}).json()["errors"]
    assert (error["field"], error["allowed"]) == ("members", "2 to 16, or one that is score files")


def test_recipes_share_their_stages_with_experiments(client: Any, brought: str) -> None:
    alone = client.post("/experiments", json={"recipe": "demo_mean_pooling", "splits": [1]}).json()
    whole = {"recipe": "demo_mean_pooling", "stream": "two-stream"}
    made = post(client, whole, {"scores": [brought]})
    assert made.status_code == 202, made.text
    shared = {stage["key"] for stage in stages_of(client, alone).values()} | {brought}
    new = [stage for stage in stages_of(client, made.json()).values() if stage["key"] not in shared]
    assert [stage["name"] for stage in new] == ["fuse 2 systems, split 1, seed 0"]
    [error] = post(client, {**whole, "stream": "rgb"}, whole).json()["errors"]  # one network sees both streams
    assert error["field"] == "members.0.stream"
    assert error["allowed"] == "a stream of which recipe demo_mean_pooling has scores of its own"


@pytest.mark.parametrize(
    ("member", "field", "value", "allowed"),
    [
        ({"experiment": NOBODY, "stream": "rgb"}, "experiment", NOBODY, NO_ENSEMBLE),
        ({"recipe": "none", "stream": "rgb"}, "recipe", "none", None),
        ({"scores": ["0" * 64]}, "scores.0", "0" * 64, "a score file of motion_shapes"),
        ({"recipe": "demo_ts_lstm"}, "stream", None, "rgb, flow or two-stream of the experiment or recipe"),
        ({"stream": "rgb"}, "", [], "one of experiment, recipe and scores"),
        ({"scores": ["0" * 64], "stream": "rgb"}, "stream", "rgb", "null with scores, which say their own"),
    ],
)  # fmt: skip
def test_members_that_cannot_be_are_refused(
    client: Any, brought: str, member: dict[str, Any], field: str, value: object, allowed: str | None
) -> None:
    answer = post(client, {"scores": [brought]}, member)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert (error["field"], error["value"]) == (f"members.1.{field}".rstrip("."), value)
    assert allowed in (None, error["allowed"])


def test_splits_and_seeds_that_a_member_lacks_are_named(client: Any, submit: Any, brought: str) -> None:
    alone = submit()
    found = {"experiment": alone["id"], "stream": "rgb"}
    has_none = f"a stream of which {alone['id']} has scores of its own"
    for members, changes, field, allowed in (
        ((found, found), {"seeds": [7]}, "members.0.experiment", "one with split 1 and seed 7"),
        (({"scores": [brought]}, found), {"splits": [1, 2]}, "members.0.scores", "a score file of split 2 too"),
        (({"scores": [brought] * 2}, found), {}, "members.0.scores.1", "one score file of split 1"),
        (({**found, "stream": "flow"}, found), {}, "members.0.stream", has_none),
        (({**found, "weight": 0},) * 2, {}, "members.0.weight", "above 0 for one member at the least"),
    ):  # fmt: skip
        [error] = post(client, *members, **changes).json()["errors"]
        assert (error["field"], error["allowed"]) == (field, allowed)


def test_probabilities_are_no_logits_before_anything_is_trained(client: Any, submit: Any, brought: str) -> None:
    """Who asks for the mean of logits is told of the member that has none, of whatever kind it is."""
    two = {"streams": ["rgb", "flow"], "fusion": {"method": "probabilities"}}
    plain, both = submit(), submit(**two)
    exact = submit(evaluation={"average": "logits"})
    logits = send(client, as_npz(scores=10 * scores(2)), file_type="npz", kind="logits").json()["id"]
    single = submit(evaluation={"average": "logits"}, name="single", seeds=[0, 1])
    sound = ({"scores": [logits]}, {"experiment": exact["id"], "stream": "rgb"})
    assert post(client, *sound, {"experiment": single["id"], "stream": "rgb"}, method="logits").status_code == 202
    for member, field in (
        ({"scores": [brought]}, "scores"),
        ({"experiment": plain["id"], "stream": "rgb"}, "experiment"),
        ({"experiment": both["id"], "stream": "two-stream"}, "experiment"),
        ({"recipe": "demo_mean_pooling", "stream": "two-stream"}, "recipe"),
    ):
        answer = post(client, *sound, member, method="logits")
        assert answer.status_code == 422, answer.text
        [error] = answer.json()["errors"]
        assert error["field"] == f"members.2.{field}"
        assert error["allowed"] == "one whose scores are logits, since method is logits; its own are probabilities"
        assert post(client, *sound, member, method="probabilities").status_code == 202


def test_a_sweep_says_how_much_is_tuning(client: Any, brought: str) -> None:
    other = send(client, as_npz(scores=scores(1)), file_type="npz", stream="rgb").json()["id"]
    made = post(client, {"scores": [brought]}, {"scores": [other], "weight": 3}, method="probabilities").json()
    path = f"/experiments/{made['id']}/fusion/sweep"
    [found] = client.get(path, params={"member": 0, "steps": 3}).json()
    truth = np.array([CLASSES.index(clip.partition("/")[0]) for clip in CLIPS])
    first, second = scores(), scores(1)
    rates = [float(np.mean(((1 - w) * second + w * first).argmax(1) == truth)) for w in (0.0, 0.5, 1.0)]
    assert found["curve"] == [{"weight": w, "top1": rate} for w, rate in zip((0.0, 0.5, 1.0), rates, strict=True)]
    assert found["declared"] == np.mean((first + 3 * second).argmax(1) == truth)
    assert (found["equal"], found["best_on_test"]["top1"], found["groups"]) == (rates[1], max(rates), 7)
    assert found["tuning"] == pytest.approx(found["best_on_test"]["top1"] - found["held_out"])
    assert [name.partition(",")[0] for name in found["systems"]] == [
        "uploaded elsewhere flow",
        "uploaded elsewhere rgb",
    ]
    [error] = client.get(f"{path}?split=2").json()["errors"]
    assert (error["field"], error["value"], error["allowed"]) == ("split", 2, "1")
    assert client.get(f"{path}?member=2").json()["errors"][0]["allowed"] == "0 to 1, or -1 for the last one"
    assert client.get(f"/experiments/{NOBODY}/fusion/sweep").status_code == 404


def test_scores_that_are_not_there_yet_have_no_sweep(client: Any, submit: Any, brought: str) -> None:
    made = post(client, {"experiment": submit()["id"], "stream": "rgb"}, {"scores": [brought]}).json()
    answer = client.get(f"/experiments/{made['id']}/fusion/sweep")
    assert answer.status_code == 409
    assert "its scores are not there; hint: wait for it" in answer.json()["detail"]
