"""Two systems, and heads against a baseline, over HTTP."""

from __future__ import annotations

import pytest

from tests import said

CLASSES, LABELS = ("Hop", "Run"), [0, 0, 0, 1, 1, 1]
IDS = [f"{CLASSES[label]}/v_g{place:02d}_c01" for place, label in enumerate(LABELS)]
ASKED = {"split": "1", "stream": "rgb"}


def made(database, *ranks):
    return [
        said.run(
            database,
            lambda split, seed, ranks=ranks: said.summary(CLASSES, LABELS, ranks, ids=IDS, split=split, seed=seed),
            **head,
        )
        for ranks, head in zip(ranks, said.heads(8, 16, 32), strict=False)
    ]


def test_two_experiments_side_by_side(client, database):
    left, right = made(database, [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0])
    answer = client.get("/compare", params={"left": left, "right": right, "dataset": "motion_shapes"} | ASKED)
    found = answer.json()
    assert found["differs"] == [{"field": "model.hidden", "left": [8], "right": [16]}]
    assert (found["left"]["experiment_id"], found["left"]["seeds"]) == (left, {"0": pytest.approx(5 / 6)})
    assert found["difference"] == pytest.approx(-1 / 6)
    assert [(each["name"], each["difference"]) for each in found["gaining"]] == [("Hop", pytest.approx(1 / 3))]
    assert [(each["name"], each["difference"]) for each in found["losing"]] == [("Run", pytest.approx(-2 / 3))]
    assert found["paired"]["test"] == {"left_seed": 0, "right_seed": 0, "left_only": 2, "right_only": 1, "p": 1.0}
    assert found["paired"]["right_only"] == [
        {"clip": IDS[2], "split": 1, "label": "Hop", "left": "Run", "right": "Hop"}
    ]
    assert (found["paired"]["oracle"], found["units"], found["notes"], found["seeds"]) == (1.0, "groups", [], [])
    assert client.get("/compare", params={"left": left, "right": right} | ASKED).content == answer.content
    result = client.get(f"/results/{found['left']['result_id']}").json()
    assert (result["experiment_id"], result["seed"], result["split"]) == (left, None, 1)


def test_heads_against_a_baseline(client, database):
    baseline, *others = made(database, [0, 0, 1, 0, 1, 0], [0] * 6, [1] * 6)
    asked = {"baseline": baseline, "others": ",".join(others)}
    found = client.get("/compare/controlled", params=asked | ASKED).json()
    assert [gain["head"]["experiment_id"] for gain in found["gains"]] == others
    assert [gain["difference"] for gain in found["gains"]] == pytest.approx([1 / 3, -2 / 3])
    twice = client.get("/compare/controlled", params=asked | {"others": f"{others[0]},{others[0]}"} | ASKED)
    assert [gain["difference"] for gain in twice.json()["gains"]] == pytest.approx([1 / 3])
    itself = client.get("/compare/controlled", params=asked | {"others": f"{others[0]},{baseline}"} | ASKED)
    assert (itself.status_code, itself.json()["errors"][0]["allowed"]) == (
        422, "ids of other experiments than the baseline",
    )  # fmt: skip
    assert (found["baseline"]["name"], found["features"], found["num_units"]) == ("width 8", 1, 6)


def test_three_pair_by_pair(client, database):
    ids = made(database, [0, 0, 1, 0, 1, 0], [0] * 6, [1] * 6)
    found = client.get("/compare/several", params={"experiments": ",".join(ids)} | ASKED).json()
    assert [side["experiment_id"] for side in found["systems"]] == ids
    assert found["differs"] == [{"field": "model.hidden", "values": [[8], [16], [32]]}]
    assert [(pair["left"], pair["right"]) for pair in found["pairs"]] == [
        (ids[0], ids[1]), (ids[0], ids[2]), (ids[1], ids[2]),
    ]  # fmt: skip
    assert [pair["difference"] for pair in found["pairs"]] == pytest.approx([1 / 3, -2 / 3, -1])
    assert found["pairs"][2]["adjusted_p"] == pytest.approx(3 * found["pairs"][2]["test"]["p"])
    assert [each["name"] for each in found["classes"]] == ["Hop", "Run"]
    assert (found["units"], found["notes"], found["split"]) == ("groups", [], "1")


@pytest.mark.parametrize(
    ("path", "query", "status", "said"),
    [
        ("", {"left": "exp_a"}, 422, "right"),
        ("", {"left": "exp_a", "right": "exp_b"}, 404, "no experiment named 'exp_a'"),
        ("", {"left": "exp_a", "right": "exp_b", "split": "4"}, 422, "split"),
        ("", {"left": "exp_a", "right": "exp_b", "stream": "depth"}, 422, "stream"),
        ("", {"left": "exp_a", "right": "exp_b", "clips": "1001"}, 422, "clips"),
        ("", {"left": "exp_a", "right": "exp_b", "metric": "top1"}, 422, "metric"),
        ("/several", {"experiments": "exp_a,exp_a"}, 422, "2 to 5 different ids"),
        ("/several", {"experiments": ",".join(["exp_a"] * 6)}, 422, "experiments"),
        ("/several", {"experiments": "exp_a,exp_b"}, 404, "no experiment named 'exp_a'"),
        ("/controlled", {"baseline": "exp_a", "others": ","}, 422, "others"),
        ("/controlled", {"baseline": "exp_a", "others": "exp_b,"}, 422, "others"),
        ("/controlled", {"baseline": "exp_a", "others": ",".join(["exp_b"] * 21)}, 422, "others"),
        ("/controlled", {"baseline": "exp_a", "others": "exp_b"}, 404, "no experiment named 'exp_a'"),
    ],
)
def test_what_cannot_be_compared_is_refused(shared, path, query, status, said):
    answer = shared.get(f"/compare{path}", params=query)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True)
