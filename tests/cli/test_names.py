"""Experiments by the beginning of their id, and by name."""

from __future__ import annotations

import json

import pytest

from tests import published
from tests.cli.conftest import SEEDS, SPEC


@pytest.fixture
def named(twostream, tmp_path):
    def submit(name: str) -> str:
        path = tmp_path / f"{next(SEEDS)}.yaml"
        path.write_text(SPEC.replace("small", name) + f"seeds: [{next(SEEDS)}]\n")
        return twostream("submit", str(path))[1].strip()

    return submit


def test_an_experiment_goes_by_its_name_and_by_the_beginning_of_its_id(twostream, named):
    made = named("lone one")
    for given in ("lone one", made[:-1], made):
        assert json.loads(twostream("show", given, "--json")[1])["id"] == made
    for command in (("logs",), ("results",), ("report",), ("figure",)):
        assert twostream(*command, "lone one")[0] == 0
    code, _, err = twostream("compare", "lone one", made[:-1])
    assert (code, "no experiment whose" in err) != (0, True)
    assert twostream("cancel", "lone one") == (0, f"{made}  cancelled\n", "")
    assert twostream("retry", made[:-1])[1] == f"{made}  queued\n"
    code, out, _ = twostream("export", "lone one")
    assert (code, out) == (4, "")


def test_what_every_id_begins_with_names_none(twostream, named):
    """Else a command that deletes would take the only one there is."""
    named("the only one")
    for command in (["delete", "exp_", "--yes"], ["show", "exp_"], ["cancel", "exp_"]):
        code, _, err = twostream(*command)
        assert (code, "no experiment whose name or beginning of its id is 'exp_'" in err) == (3, True)
    assert twostream("sweep", "cancel", "swp_")[0] == 2


def test_more_than_one_are_named_and_so_are_the_nearest(twostream, named):
    first, second = named("twins"), named("twins")
    code, out, err = twostream("show", "twins")
    assert (code, out) == (3, "")
    assert f"{second} (twins, queued), {first} (twins, queued) have" in err
    assert f"{first} (twins, queued)" in twostream("show", "exp_")[2] + twostream("show", "twin")[2]
    code, _, err = twostream("cancel", "twin")
    assert (code, "hint: one of exp_" in err) == (3, True)
    found = twostream("show", "no such", "--json")
    assert (found[0], json.loads(found[1])["status"], "hint: twostream list" in found[2]) == (3, 404, True)
    assert twostream("show", "exp_ffff")[0] == 3


def test_a_name_that_is_the_beginning_of_anothers_id_stands_for_neither(twostream, named):
    made = named("first")
    twin = named(made[:-1])
    code, out, err = twostream("show", made[:-1])
    assert (code, out) == (3, "")
    assert f"{made} (first, queued), {twin} ({made[:-1]}, queued) have" in err
    assert json.loads(twostream("show", made, "--json")[1])["id"] == made


def test_a_name_that_is_a_part_of_many_others_is_found_among_them(twostream, database):
    with database.transaction() as session:
        wanted = published.experiment(session, name="part").id
        for number in range(201):
            published.experiment(session, name=f"part {number}")
    assert json.loads(twostream("show", "part", "--json")[1])["id"] == wanted
