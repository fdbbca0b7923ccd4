"""`clone` and `open`."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from cli.commands.clone import changed


def test_a_clone_is_the_spec_with_changes(twostream, submitted):
    code, out, _ = twostream("clone", submitted, "--set", "training.epochs=7", "--set", "name=more epochs")
    assert code == 0
    old, new = (json.loads(twostream("show", id_, "--json")[1])["spec"] for id_ in (submitted, out.strip()))
    assert (new["name"], new["training"]["epochs"]) == ("more epochs", 7)
    old["name"], old["training"]["epochs"] = new["name"], 7
    assert new == old


@pytest.mark.parametrize(
    "change", ["training.epochs=7", "model={kind: mean_pooling}", "streams=[rgb]", "splits=[3, 1]"]
)
def test_a_clone_is_of_the_same_recipe(twostream, api, change, tmp_path):
    """Its deviations from the paper, and what else is said of a recipe's experiment, stay with it."""
    file = tmp_path / "of_recipe.yaml"
    file.write_text("{recipe: demo_ts_lstm, seeds: [5]}")
    made = twostream("submit", str(file))[1].strip()
    old, new = (
        json.loads(twostream("show", id_, "--json")[1])
        for id_ in (made, twostream("clone", made, "--set", change, "--set", "seeds=[6]")[1].strip())
    )
    assert (old["recipe"], new["recipe"]) == ("demo_ts_lstm", "demo_ts_lstm")
    kept = changed(old["spec"] | {"seeds": [6]}, [change])
    assert new["spec"] | {"model": None} == kept | {"model": None}
    assert new["spec"]["model"].items() >= kept["model"].items()


def test_a_clone_registers_no_dataset_anew(twostream, submitted):
    refreshed = twostream("clone", submitted, "--set", "refresh=true")[1].strip()
    cloned = twostream("clone", refreshed)[1].strip()
    specs = [json.loads(twostream("show", id_, "--json")[1])["spec"] for id_ in (refreshed, cloned)]
    assert [spec["refresh"] for spec in specs] == [True, False]


def test_a_clone_is_tried_without_being_queued(twostream, submitted):
    total = json.loads(twostream("list", "--json")[1])["total"]
    code, out, _ = twostream("clone", submitted, "--set", "seeds=[901, 902]", "--dry-run")
    assert (code, "nothing is queued" in out) == (0, True)
    found = json.loads(twostream("clone", submitted, "--set", "seeds=[901, 902]", "--dry-run", "--json")[1])
    assert [stage["kind"] for stage in found["stages"]].count("train") == 2
    assert json.loads(twostream("list", "--json")[1])["total"] == total
    assert twostream("clone", submitted, "--dry-run", "--watch")[0] == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("training.epochz=20", "training.epochz: got 20, allowed: "),
        ("training.epochs=-1", "training.epochs: got -1, allowed: "),
        ("training.epochs", "--set: got 'training.epochs', allowed: FIELD=VALUE"),
        ("training..epochs=1", "allowed: FIELD=VALUE"),
        ("training.epochs=yes", "--set training.epochs: line 1: value: got yes, allowed: true or false"),
        ("name.first=1", "--set name.first: got 'first', allowed: no field below 'small'"),
        ("name=run #3", "--set name: got 'run #3', allowed: one value; put a text in quotes"),
        ("seeds=[0, 1] # two", "--set seeds: got '[0, 1] # two', allowed: one value"),
        ("name=a\npriority: 3", "--set name: got 'a\\npriority: 3', allowed: one value"),
        ("name=a\x07", "--set name: line 1: got '\\x07', allowed: text in UTF-8 without control characters"),
        ("splits.3=1", "--set splits.3: got '3', allowed: one of its 1 places, from 0"),
    ],
)
def test_a_change_that_cannot_be_names_its_field(twostream, submitted, change, words):
    code, out, err = twostream("clone", submitted, "--set", change)
    assert (code, out) == (2, "")
    assert words in err


def test_the_page_is_printed_and_opened(twostream, submitted, api, monkeypatch, tmp_path):
    opened = tmp_path / "opened"
    script = f"import pathlib, sys; pathlib.Path({str(opened)!r}).write_text(sys.argv[1])"
    (tmp_path / "browser.py").write_text(script)
    monkeypatch.setenv("BROWSER", f"{shlex.join([sys.executable, str(tmp_path / 'browser.py')])} %s")
    monkeypatch.setattr("webbrowser._tryorder", None)  # else those that an earlier test found
    address = f"{api}/experiments/{submitted}"
    assert twostream("open", submitted, "--print") == (0, f"{address}\n", "")
    assert not opened.exists()
    assert twostream("open", submitted)[:2] == (0, f"{address}\n")
    assert opened.read_text() == address
    assert twostream("open", "exp_ffffffffffffffffffff")[0] == 3
