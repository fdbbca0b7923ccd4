"""Numbers that test clips chose carry that wherever their weights and scores go, and rank among no others."""

from __future__ import annotations

from typing import Any

from tests.api.conftest import SPEC

BOARD = "/leaderboard?dataset=motion_shapes&split=1&stream=rgb"
ON_TEST = {"training": {"epochs": 3, "selection": "test"}}


def flags(client: Any, made: dict[str, Any]) -> set[tuple[str, str]]:
    found = client.get(f"/experiments/{made['id']}").json()["flags"]
    return {(flag["code"], flag["field"]) for flag in found}


def ranked(client: Any, board: str = BOARD) -> list[str]:
    return [row["name"] for row in client.get(board).json()["rows"]]


def ending(worker: Any) -> Any:
    """A worker whose ensembles of one stream are measured as that stream."""
    made = worker()
    plain = made.results
    made.results = lambda claim: plain(claim) if claim.params["weights"] else [
        {"stream": "rgb", "split": 1, "seed": 0, "metrics": {"top1": 0.5, "top5": 1.0, "mean_class": 0.5, "clips": 100}}
    ]  # fmt: skip
    return made


def test_weights_that_test_clips_chose_make_numbers_that_test_clips_chose(
    client: Any, submit: Any, worker: Any
) -> None:
    chosen = submit(name="chosen", **ON_TEST)
    own = submit(name="own")
    model = {"kind": "ts_lstm", "weights": {"experiment": chosen["id"]}}
    started = submit(name="started", model=model, training={"epochs": 1})
    [tried] = client.post("/experiments?dry_run=true", json=SPEC | {"model": model}).json()["findings"]
    assert (tried["code"], tried["field"]) == ("selected_on_test", "model.weights")
    assert flags(client, started) == {("selected_on_test", "model.weights")}
    ending(worker).finish_all()
    results = client.get(f"/experiments/{started['id']}/results").json()
    assert all(result["selected_on_test"] for result in results)
    assert ranked(client) == ["own"]
    assert sorted(ranked(client, f"{BOARD}&selected_on_test=flag")) == ["chosen", "own", "started"]
    assert flags(client, own) == set()


def test_what_is_doubtful_of_a_member_is_so_of_the_ensemble(client: Any, submit: Any, worker: Any) -> None:
    chosen, own, other = submit(name="chosen", **ON_TEST), submit(name="own"), submit(name="other", seeds=[0, 1])
    ending(worker).finish_all()
    body = {"name": "both", "dataset": "motion_shapes", "splits": [1], "method": "probabilities"}
    members = [{"experiment": made["id"], "stream": "rgb"} for made in (own, chosen)]
    tried = client.post("/experiments?dry_run=true", json=body | {"members": members}).json()["findings"]
    made = client.post("/experiments", json=body | {"members": members}).json()
    assert made["flags"] == tried
    assert flags(client, made) == {("selected_on_test", "members.1.experiment")}
    assert tried[0]["sentence"].startswith(f"{chosen['id']}: rgb: the tested epoch is chosen")
    ending(worker).finish_all()
    assert sorted(ranked(client)) == ["other", "own"]
    members[1] = {"experiment": other["id"], "stream": "rgb"}
    sound = client.post("/experiments", json=body | {"name": "sound", "members": members}).json()
    assert sound["flags"] == []


def test_what_rests_on_a_withdrawn_experiment_says_so_until_it_is_reinstated(
    client: Any, submit: Any, worker: Any
) -> None:
    wrong, own = submit(name="wrong"), submit(name="own")
    weights = {"kind": "ts_lstm", "weights": {"experiment": wrong["id"]}}
    body = {"name": "both", "dataset": "motion_shapes", "splits": [1], "method": "probabilities"}
    members = [{"experiment": made["id"], "stream": "rgb"} for made in (own, wrong)]

    def ensemble(*of: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = client.post("/experiments", json=body | {"members": of}).json()
        return found

    def withdrawn(made: dict[str, Any]) -> set[tuple[str, str]]:
        found = client.get(f"/experiments/{made['id']}").json()["flags"]
        return {(each["field"], each["sentence"]) for each in found if each["code"] == "rests_on_withdrawn"}

    before = [submit(name="started", model=weights, training={"epochs": 1}), ensemble(*members)]
    of_started = ensemble(members[0], {"experiment": before[0]["id"], "stream": "rgb"})
    ending(worker).finish_all()
    for reason in ("trained on test clips", "trained on the test list"):
        client.post(f"/experiments/{wrong['id']}/withdraw", json={"reason": reason})
        said = f"{wrong['id']} was withdrawn: {reason}"
        assert [withdrawn(made) for made in before] == [
            {("model.weights.experiment", said)},
            {("members.1.experiment", said)},
        ]
        assert withdrawn(of_started) == {("experiment", said)}
    assert withdrawn(own) == withdrawn(wrong) == set()
    [entry] = [row for row in client.get(BOARD).json()["rows"] if row["name"] == "started"]
    assert "rests_on_withdrawn" in {flag["code"] for flag in entry["flags"]}

    again = body | {"members": [members[1], {"experiment": before[0]["id"], "stream": "rgb"}]}
    tried = client.post("/experiments?dry_run=true", json=again).json()["findings"]
    after = client.post("/experiments", json=again).json()
    assert after["flags"] == tried
    assert withdrawn(after) == {("members.0.experiment", said), ("members.1.experiment", said)}

    client.post(f"/experiments/{wrong['id']}/reinstate")
    assert [withdrawn(made) for made in (*before, of_started, after)] == [set()] * 4
