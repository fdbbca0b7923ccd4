"""The commands against a real API, without a worker: what is submitted stays queued."""

import json
import os
import shlex
import subprocess
import sys
import threading

import pytest

from services.board.means import Row, Value
from services.db.tables import ExperimentRow
from tests import published
from tests.cli.conftest import SPEC
from tests.cli.stacks import PATIENCE_SECONDS


def test_an_experiment_is_submitted_shown_listed_and_cancelled(twostream, submitted):
    code, out, _ = twostream("show", submitted)
    assert code == 0
    assert "state    queued" in out
    assert "index motion_shapes" in out
    code, out, _ = twostream("list", "--state", "queued", "--json")
    assert submitted in [experiment["id"] for experiment in json.loads(out)["items"]]
    assert submitted in twostream("list")[1]
    assert twostream("cancel", submitted) == (0, f"{submitted}  cancelled\n", "")
    code, _, err = twostream("cancel", submitted)
    assert code == 4
    assert f"experiment {submitted} cannot be cancelled" in err
    assert twostream("retry", submitted)[0] == 0
    assert twostream("logs", submitted)[0] == 0
    code, out, err = twostream("logs", submitted, "--stage", "nope")
    assert (code, out, "no stage named 'nope'; hint: its stages are " in err) == (3, "", True)
    assert json.loads(twostream("logs", submitted, "--json")[1]) == {"id": submitted, "logs": ""}


def test_a_dry_run_says_what_would_run_and_queues_nothing(twostream, spec):
    before = json.loads(twostream("list", "--json")[1])["total"]
    code, out, _ = twostream("submit", spec, "--dry-run")
    assert code == 0
    assert "nothing is queued" in out
    assert "train ts_lstm rgb" in out
    found = json.loads(twostream("submit", spec, "--dry-run", "--json")[1])
    assert [stage["kind"] for stage in found["stages"]] == ["index", "extract", "train", "score", "fuse"]
    assert json.loads(twostream("list", "--json")[1])["total"] == before
    assert twostream("submit", spec, "--dry-run", "--watch")[0] == 2


def test_results_are_shown_with_their_means_and_categories(twostream, submitted, database):
    assert twostream("results", submitted) == (0, "results: none yet\n", "")
    values = {"top1": Value(0.25, None, 0.1755, 0.343), "top5": Value(1.0), "mean_class": Value(0.25)}
    rates = {"values": values, "clips": 100, "categories": {"Sports": 0.5, "Body-Motion Only": 0.125}}
    rows = [Row(split=1, seed=0, **rates), Row(split=1, **rates), Row(split=None, missing_splits=[2, 3])]
    with database.transaction() as session:
        published.publish(session, session.get_one(ExperimentRow, submitted), rows)
    code, out, _ = twostream("results", submitted)
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[3].startswith("rgb 1 mean 25.00 % 17.55 % to 34.30 % - 100.00 % 25.00 % 100")
    assert lines[4].startswith("rgb mean mean - needs split 2, 3 - - - - ")  # its id follows
    assert lines[-2:] == ["stream split Body-Motion Only Sports", "rgb 1 12.50 % 50.00 %"]
    found = json.loads(twostream("results", submitted, "--json")[1])
    assert [entry["split"] for entry in found] == [1, 1, None]
    assert twostream("results", "exp_nothing")[0] == 3


def test_json_is_the_apis_answer(twostream, submitted):
    code, out, _ = twostream("show", submitted, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["id"] == submitted
    assert {stage["kind"] for stage in found["stages"]} == {"index", "extract", "train", "score", "fuse"}


def test_a_spec_comes_from_standard_input_too_and_a_key_submits_it_once(twostream, monkeypatch, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    ids = []
    for path in (first, second):
        path.write_text(SPEC)
        with path.open() as source:
            monkeypatch.setattr(sys, "stdin", source)
            code, out, _ = twostream("submit", "-", "--idempotency-key", "once")
        assert code == 0
        ids.append(out)
    assert ids[0] == ids[1]
    second.write_text(SPEC.replace("small", "other"))
    code, _, err = twostream("submit", str(second), "--idempotency-key", "once")
    assert (code, "once" in err) == (4, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SPEC + "training: {optimizer: {learning_rate: -1}}", "training.optimizer.learning_rate: got -1, allowed: "),
        (SPEC + "typo: 1", "typo: got 1, allowed: "),
        ("recipe: nothing", "nothing"),
        ("- a list", "got list, allowed: a mapping of fields"),
        ("a: [", "not YAML: "),
        ("a: &itself [*itself]", "got so much, allowed: 32 levels"),
        ("a: " + "[" * 5000, "got more levels than can be read, allowed: 32"),
    ],
)
def test_an_invalid_spec_exits_with_2_and_names_field_value_and_what_is_allowed(twostream, tmp_path, content, words):
    path = tmp_path / "spec.yaml"
    path.write_text(content)
    code, out, err = twostream("submit", str(path))
    assert code == 2
    assert words in err
    assert (out, "Traceback" in err) == ("", False)


def test_a_spec_that_is_not_there_is_named(twostream, tmp_path):
    code, _, err = twostream("submit", str(tmp_path / "nothing.yaml"))
    assert (code, err) == (2, f"twostream: {tmp_path}/nothing.yaml: No such file or directory\n")


def test_watching_ends_with_the_experiment_and_its_exit_code(twostream, submitted, api):
    client = (  # the pause lets the watch see it waiting first
        f"import sys, time; time.sleep(2); from cli.main import main; sys.argv[1:] = ['cancel', {submitted!r}]; main()"
    )
    with subprocess.Popen([sys.executable, "-c", client], stdout=subprocess.DEVNULL, env={**os.environ}) as other:
        code, out, _ = twostream("watch", submitted)
        assert other.wait(PATIENCE_SECONDS) == 0
    assert code == 1
    assert out.startswith(f"small ({submitted}): 5 stages")
    assert out.splitlines()[-2:] == [f"small ({submitted}): cancelled", f"{api}/experiments/{submitted}"]
    until_no_feed()


def test_watching_ends_with_what_was_reached(twostream, submitted, database, api):
    rows = [Row(split=1, seed=0, values={"top1": Value(0.5)}), Row(split=1, values={"top1": Value(0.5)})]
    with database.transaction() as session:
        published.publish(session, session.get_one(ExperimentRow, submitted), [*rows, published.mean(None)])
    twostream("cancel", submitted)
    lines = twostream("watch", submitted)[1].splitlines()
    assert lines[-2:] == ["rgb, split 1: top1 50.00 %", f"{api}/experiments/{submitted}"]
    with database.transaction() as session:
        published.publish(session, session.get_one(ExperimentRow, submitted), [*rows, published.mean(0.25)])
    lines = twostream("watch", submitted)[1].splitlines()
    assert lines[-3].endswith(": cancelled")
    assert lines[-2] == "rgb, mean over splits: top1 25.00 %"
    until_no_feed()


def test_watching_as_json_prints_one_document(twostream, submitted):
    twostream("cancel", submitted)
    code, out, err = twostream("watch", submitted, "--json")
    assert code == 1
    assert json.loads(out)["state"] == "cancelled"
    assert "cancelled" in err
    until_no_feed()


def until_no_feed():
    for thread in threading.enumerate():
        if thread.name.startswith("feed-"):
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


@pytest.mark.parametrize("command", ["list", "queue"])
def test_every_listing_with_a_limit_says_what_it_leaves_out(twostream, spec, command):
    for _ in range(2):
        assert twostream("submit", spec)[0] == 0
    shown, line = set(), f"twostream {command} --limit 1"
    while line:
        out = twostream(*shlex.split(line)[1:])[1]
        found = [entry for entry in out.splitlines() if "; more: " in entry]
        words, _, line = found[0].partition("; more: ") if found else ("", "", "")
        shown.add(words.partition(" of ")[2])
        assert len(shown) < 3, shown
    counts = shown - {""}
    assert len(counts) == 1
    assert int(counts.pop().split()[0]) > 1
