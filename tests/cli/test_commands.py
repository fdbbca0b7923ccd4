"""The commands against a real API, without a worker: what is submitted stays queued."""

import itertools
import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.board.means import Row, Value
from services.db.tables import DatasetRow, ExperimentRow
from tests import published
from tests.cli.stacks import PATIENCE_SECONDS

SPEC = """
name: small
dataset: motion_shapes
splits: [1]
streams: [rgb]
backbone: {name: tiny, finetune: null}
"""
SEEDS = itertools.count()
"""One for each spec, so that its stages are not those of an earlier test."""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(f"{SPEC}seeds: [{next(SEEDS)}]\n")
    return str(path)


@pytest.fixture
def submitted(twostream, spec):
    code, out, _ = twostream("submit", spec)
    assert code == 0
    return out.strip()


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
    assert json.loads(twostream("logs", submitted, "--json")[1]) == {"id": submitted, "logs": ""}


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
    assert lines[4] == "rgb mean mean - needs split 2, 3 - - - -"
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


@pytest.mark.parametrize(("output", "code", "words"), [(">/dev/full", 1, "No space left on device"), (">&-", 0, "")])
@pytest.mark.parametrize("form", ["", "--json"])
def test_an_answer_that_cannot_be_written_is_no_traceback(twostream, output, code, words, form):
    del twostream  # it names the API in the environment
    command = f"{shlex.quote(str(Path(sys.executable).with_name('twostream')))} list {form} {output}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert words in done.stderr


def test_an_error_as_json_is_the_problem_document(twostream):
    code, out, err = twostream("show", "exp_unknown", "--json")
    assert code == 3
    assert json.loads(out)["status"] == 404
    assert "exp_unknown" in err


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
    assert out.splitlines()[-1] == f"small ({submitted}): cancelled"
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


def test_a_dataset_is_registered_with_absolute_folders(twostream, tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "classInd.txt").write_text("1 Walk\n")
    for kind in ("train", "test"):
        (tmp_path / "lists" / f"{kind}list01.txt").write_text(f"Walk/v_Walk_g0{len(kind)}_c01.avi 1\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = twostream("dataset", "add", "mine", "--root", "clips", "--splits", "lists")
    assert (code, out, err) == (0, "mine: revision 1, 1 classes, 2 clips, splits 1\n", "")
    code, out, _ = twostream("dataset", "list", "--json")
    (mine,) = [dataset for dataset in json.loads(out) if dataset["name"] == "mine"]
    assert mine["root"] == str(tmp_path / "clips")
    assert mine["splits"] == [1]
    assert twostream("dataset", "add", "mine", "--root", "clips", "--splits", "lists")[0] == 4
    assert "mine" in twostream("dataset", "list")[1]
    code, _, err = twostream("dataset", "add", "other", "--root", "nowhere", "--splits", "lists")
    assert (code, err) == (2, "twostream: --root: got 'nowhere', allowed: a folder\n")


def test_named_clips_are_left_out(twostream, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Walk\n")
    (lists / "trainlist01.txt").write_text("Walk/a.avi 1\nWalk/b.avi 1\n")
    (lists / "testlist01.txt").write_text("Walk/c.avi\n")
    exclude = tmp_path / "exclude.txt"
    add = ("dataset", "add", "less", "--root", str(tmp_path), "--splits", str(lists), "--exclude", str(exclude))
    code, _, err = twostream(*add)
    assert (code, err) == (2, f"twostream: --exclude: {exclude}: no such list\n")
    exclude.write_text("\nWalk/x.avi\n")
    code, _, err = twostream(*add)
    assert (code, err) == (2, f"twostream: --exclude: {exclude}:2: got 'Walk/x.avi', allowed: a clip of the lists\n")
    exclude.write_text("Walk/c.avi\n")
    code, _, err = twostream(*add)
    assert (code, err) == (2, "twostream: --exclude: split 1 has no clips to test but those that are left out\n")
    exclude.write_text("Walk/b.avi\n")
    assert twostream(*add) == (0, "less: revision 1, 1 classes, 2 clips (1 left out), splits 1\n", "")
    (found,) = [entry for entry in json.loads(twostream("dataset", "list", "--json")[1]) if entry["name"] == "less"]
    assert found["excluded"] == ["Walk/b.avi"]
    assert "left out" in twostream("dataset", "list")[1]


def test_lists_that_changed_are_refused_or_refreshed(twostream, tmp_path):
    lists, path = tmp_path / "lists", tmp_path / "spec.yaml"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Walk\n")
    (lists / "trainlist01.txt").write_text("Walk/a.avi 1\nWalk/b.avi 1\n")
    (lists / "testlist01.txt").write_text("Walk/c.avi\n")
    path.write_text(SPEC.replace("motion_shapes", "edited"))
    assert twostream("dataset", "add", "edited", "--root", str(tmp_path), "--splits", str(lists))[0] == 0
    assert twostream("submit", str(path))[0] == 0
    (lists / "testlist01.txt").write_text("Walk/d.avi\n")
    code, _, err = twostream("submit", str(path))
    assert (code, "have changed since revision 1" in err, "refresh" in err) == (4, True, True)
    assert twostream("submit", str(path), "--refresh")[0] == 0
    (found,) = [entry for entry in json.loads(twostream("dataset", "list", "--json")[1]) if entry["name"] == "edited"]
    assert found["revision"] == 2


def test_a_cut_listing_says_what_it_leaves_out_and_how_to_go_on(twostream, database):
    publish(database, "cut", [0.5, 0.75, None, 0.25, None])
    code, out, _ = twostream("leaderboard", "--dataset", "cut", "--stream", "rgb", "--limit", "2")
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith("4 of 5 entries; more: twostream leaderboard --dataset cut --split mean --stream rgb ")
    seen = json.loads(twostream("leaderboard", "--dataset", "cut", "--stream", "rgb", "--limit", "2", "--json")[1])
    following = json.loads(twostream(*shlex.split(last.partition("more: twostream ")[2]), "--json")[1])
    assert [row["value"] for row in (*seen["rows"], *following["rows"])] == [0.75, 0.5, 0.25]
    assert [row["rank"] for row in following["rows"]] == [3]
    whole = twostream("leaderboard", "--dataset", "cut", "--stream", "rgb")[1]
    assert "more: " not in whole


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


def publish(database, dataset, values, **columns):
    """Write a dataset and mean rows of experiments on it, without any work."""
    with database.transaction() as session:
        if session.get(DatasetRow, dataset) is None:
            session.add(DatasetRow(name=dataset))
            session.flush()
        for value in values:
            published.publish(session, published.experiment(session, dataset), [published.mean(value)], **columns)


def test_an_older_revision_is_shown_as_such(twostream, database):
    publish(database, "old", [0.5], revision=1, excluded=3)
    publish(database, "old", [0.25], revision=2)
    with database.transaction() as session:
        session.get_one(DatasetRow, "old").revision = 2
    out = twostream("leaderboard", "--dataset", "old", "--stream", "rgb")[1]
    assert "old, revision 2: top1" in out
    assert "on other lists or clips: 1 entries, --revision 1" in out
    assert "50.00 %" not in out
    out = twostream("leaderboard", "--dataset", "old", "--stream", "rgb", "--revision", "1")[1]
    assert "old, revision 1, superseded: it has other lists or clips now: top1" in out
    assert "the dataset leaves 3 listed clips out" in out
    board = json.loads(twostream("leaderboard", "--dataset", "old", "--stream", "rgb", "--revision", "1", "--json")[1])
    (row,) = board["rows"]
    assert (board["superseded"], row["excluded"]) == (True, 3)
    out = twostream("results", row["experiment_id"])[1]
    assert "revision 1 of the dataset, 3 listed clips left out, superseded: " in out


def test_lists_are_read_before_they_are_registered(twostream, tmp_path):
    for code in ("clap", "wave"):
        (tmp_path / f"{code}_test_split1.txt").write_text("a.avi 1 \nb.avi 2 \n")
    add = ("dataset", "add", "hmdb", "--root", str(tmp_path), "--splits", str(tmp_path))
    code, _, err = twostream(*add)
    assert code == 2
    assert err.endswith("classInd.txt: no such list; hint: --layout hmdb51 reads these lists\n")
    code, _, err = twostream(*add, "--layout", "kinetics")
    assert (code, err) == (2, "twostream: --layout: got 'kinetics', allowed: ucf101, hmdb51\n")
    code, out, _ = twostream(*add, "--layout", "hmdb51")
    assert (code, out) == (0, "hmdb: revision 1, 2 classes, 4 clips, splits 1\n")
    (tmp_path / "wave_test_split1.txt").unlink()
    (tmp_path / "clap_test_split1.txt").write_text("a.avi 7\n")
    code, _, err = twostream(*add, "--layout", "hmdb51", "--replace")
    assert code == 2
    assert "clap_test_split1.txt:1: got 'a.avi 7', allowed: '<clip> <code>' with code 0, 1 or 2\n" in err


def test_an_empty_leaderboard_says_so(twostream):
    code, out, _ = twostream("leaderboard")
    assert (code, out) == (0, "motion_shapes: top1, split mean, two-stream: no results yet\n")
    assert twostream("leaderboard", "--split", "4")[0] == 2


def test_the_queue_says_why_stages_wait_and_nobody_works(twostream, submitted):
    code, out, _ = twostream("queue")
    assert code == 0
    assert "index motion_shapes" in out
    assert json.loads(twostream("queue", "--json")[1])[0]["reason"]
    assert json.loads(twostream("workers", "--json")[1]) == []
    assert twostream("workers") == (0, "workers: none\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--queues", "fast"], "--queues: got 'fast', allowed: cpu, gpu or cpu,gpu"),
        (["--device", "tpu"], "--device: got 'tpu', allowed: auto, cpu or cuda:N"),
        ([], "not set: TWOSTREAM_DATABASE_URL, TWOSTREAM_REDIS_URL; hint: "),
    ],
)
def test_a_worker_that_cannot_start_says_why(twostream, monkeypatch, arguments, words):
    monkeypatch.delenv("TWOSTREAM_DATABASE_URL", raising=False)
    code, _, err = twostream("worker", *arguments)
    assert (code, words in err) == (2, True)


def test_up_refuses_a_device_before_it_starts_anything(twostream):
    words = "twostream: --device: got 'tpu', allowed: auto, cpu or cuda:N\n"
    assert twostream("up", "--device", "tpu") == (2, "", words)


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:9", 1, "hint: `twostream up` starts one here"),
        ("ftp://host", 2, "allowed: http:// or https://"),
        ("http://host:port", 2, "TWOSTREAM_API_URL: got "),
    ],
)
def test_an_api_that_is_not_there_is_named(twostream, monkeypatch, url, code, words):
    monkeypatch.setenv("TWOSTREAM_API_URL", url)
    found, _, err = twostream("list")
    assert (found, url in err, words in err) == (code, True, True)


def test_help_documents_exit_codes_and_usage_errors_exit_with_2(twostream):
    code, out, _ = twostream("--help")
    assert code == 0
    assert "4 conflict" in out
    assert twostream("submit")[0] == 2
    assert twostream("nonsense")[0] == 2


def test_help_loads_nothing_that_takes_long():
    heavy = {"sqlalchemy", "mlflow", "celery", "psutil", "pydantic", "torch"}
    script = f"import sys, cli.main; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_the_cache_is_listed_and_collected(twostream):
    assert twostream("cache", "list") == (0, "cache: empty\ntotal: 0 B\n", "")
    code, out, _ = twostream("cache", "gc", "--max-size", "1.5GB", "--kind", "flow", "--kind", "features", "--dry-run")
    assert (code, out) == (0, "would be dropped: nothing\n0 B before, 0 B would stay, allowed: 1.50 GB\n")
    report = json.loads(twostream("cache", "gc", "--max-size", "0", "--json")[1])
    assert (report["taken"], report["more"], report["dry_run"]) == ([], False, False)
    assert json.loads(twostream("cache", "list", "--kind", "flow", "--json")[1])["entries"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gc", "--max-size", "lots"], "max_size: got 'lots', allowed: a number of bytes, or a text such as 200GB"),
        (["gc", "--max-size", "1GB", "--kind", "films"], "kinds.0: got 'films', allowed: "),
        (["list", "--kind", "films"], "kind: got 'films', allowed: "),
        (["gc"], "--max-size"),
    ],
)
def test_a_wrong_size_or_kind_exits_with_2_and_says_what_is_allowed(twostream, arguments, words):
    code, _, err = twostream("cache", *arguments)
    assert (code, words in err) == (2, True)
