"""A page asks Postgres as often for much as for little, so that its time does not grow with what it shows."""

from __future__ import annotations

from tests import said
from tests.queries import queries_of

HTML = {"Accept": "text/html"}
CLASSES, LABELS = ("Hop", "Run"), [0, 0, 1, 1]
IDS = [f"Hop/v_g{place:02d}_c01" for place in range(len(LABELS))]


def asked(client, path: str) -> int:
    client.get(path, headers=HTML)  # connects, and looks ahead
    client.app.state.backend.foresight._until = float("inf")
    with queries_of(client.app.state.backend.database) as sent:
        assert client.get(path, headers=HTML).status_code == 200
    return len(sent)


def test_of_an_experiment_of_many_stages(client, submit):
    one, many = submit(seeds=[0])["id"], submit(seeds=list(range(8)), splits=[1, 2])["id"]
    few = asked(client, f"/experiments/{one}")
    assert asked(client, f"/experiments/{many}") == few
    assert few <= 24


def test_of_a_finished_experiment_and_of_comparisons(client, database):
    ids = [
        said.run(
            database,
            lambda split, seed: said.summary(CLASSES, LABELS, [0, 1, 0, 0], ids=IDS, split=split, seed=seed),
            **head,
        )
        for head in said.heads(8, 16, 32, 64)
    ]
    assert asked(client, f"/experiments/{ids[0]}") <= 20
    three = asked(client, f"/compare?experiment={'&experiment='.join(ids[:3])}")
    assert asked(client, f"/compare?experiment={'&experiment='.join(ids)}") == three
    assert asked(client, f"/compare?left={ids[0]}&right={ids[1]}") <= 14


def test_of_lists(client, submit):
    submit(seeds=[0])
    few = asked(client, "/experiments")
    for seed in range(1, 5):
        submit(seeds=[seed])
    assert asked(client, "/experiments") == few
