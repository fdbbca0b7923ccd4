"""No command prints what steers the reader's terminal, whoever named a thing; one row stays one row."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import text

from cli.commands.check import COUNTED, FINDINGS
from cli.feed import Event
from cli.main import app
from cli.stack.__main__ import Report
from cli.terminal import one_line, plain
from cli.watch import Bars, Lines, Watch
from services.board.means import Row, Value
from services.db.tables import DatasetRow, ExperimentRow, WorkerRow
from tests import published
from tests.cli.poison import FORBIDDEN, HOSTILE, poisoned
from tests.test_documentation import cli_commands

SEEDS = itertools.count(1000)
SPEC = "name: small\ndataset: motion_shapes\nsplits: [1]\nstreams: [rgb]\nbackbone: {name: tiny, finetune: null}\n"
LOCAL = {"up", "demo", "worker", "dataset fetch", "dataset check", "predict", "open"}
"""Commands that print nothing of the API's; the doctor's and the stack's words have tests of their own."""


@pytest.fixture
def hostile(twostream, database, api, tmp_path, monkeypatch):
    """The command on a poisoned API with something of everything; and the id of an experiment."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"{SPEC}seeds: [{next(SEEDS)}]\n")
    experiment = twostream("submit", str(spec))[1].strip()
    values = {"top1": Value(0.5), "top5": Value(1.0), "mean_class": Value(0.5)}
    rates = {"values": values, "clips": 10, "categories": {"Sports": 0.5}}
    with database.transaction() as session:
        row = session.get_one(ExperimentRow, experiment)
        published.publish(session, row, [Row(split=2, **rates)], protocol="q")
        published.publish(session, row, [Row(split=1, **rates), Row(split=None, missing_splits=[2, 3])])
        session.merge(DatasetRow(name="mine", root="/clips", annotations="/lists"))
        worker = WorkerRow(id="w", host="host", pid=1, queues=["cpu"], devices=["cpu"], concurrency=1, state="lost")
        session.merge(worker)
        session.execute(text("UPDATE experiment SET cause = 'data_error', message = 'a\nb'"))
        session.execute(text("INSERT INTO api_key (owner, digest) VALUES ('ana', 'd') ON CONFLICT DO NOTHING"))
    with poisoned(api) as url:
        monkeypatch.setenv("TWOSTREAM_API_URL", url)
        yield twostream, experiment
    with database.transaction() as session:
        session.execute(text("DELETE FROM result"))
        session.execute(text("DELETE FROM worker"))


def calls(experiment: str, spec: Path) -> dict[str, tuple[str, ...]]:
    """Arguments for every command that asks the API."""
    (spec.parent / "lists").mkdir(exist_ok=True)
    (spec.parent / "lists" / "classInd.txt").write_text("1 Walk\n")
    for kind in ("train", "test"):
        (spec.parent / "lists" / f"{kind}list01.txt").write_text(f"Walk/v_Walk_g0{len(kind)}_c01.avi 1\n")
    folders = ("--root", str(spec.parent), "--splits", str(spec.parent / "lists"))
    sweep, swept = spec.parent / "sweep.yaml", ("swp_0",)
    sweep.write_text("experiment: {recipe: demo_ts_lstm}\nspace: {nothing: {values: [1]}}\n")
    one, scores = (experiment,), spec.parent / "scores.csv"
    scores.write_text("clip,Walk\n")
    return {
        "submit": (str(spec),), "cancel": one, "watch": one, "retry": one, "show": one, "results": one, "logs": one,
        "list": ("--limit", "1"), "leaderboard": ("--split", "1", "--stream", "rgb"),
        "dataset add": ("new", *folders, "--replace"), "dataset list": (),
        "cache list": (), "cache gc": ("--max-size", "1TB", "--dry-run"), "queue": (), "workers": (), "usage": (),
        "key issue": ("eve",), "key list": (), "key rotate": ("eve",), "key revoke": ("eve",),
        "scores add": (str(scores), "--dataset", "mine", "--split", "1", "--stream", "rgb"), "scores list": (),
        "fusion sweep": one, "report": one, "figure": one, "export": one, "compare": (experiment, experiment),
        "clone": (experiment, "--set", "priority=51", "--dry-run"),
        "papers list": (), "papers show": ("matdl", "1"),
        "papers draw": ("video_lstm", "4a", "-o", str(spec.parent / "drawn.svg")), "register": one,
        "ensemble suggest": ("mine",), "sweep submit": (str(sweep),), "sweep list": (), "sweep show": swept,
        "sweep watch": swept, "sweep cancel": swept,
        "papers launch": ("matdl", "1", "--dry-run"), "papers fill": ("matdl", "1", "--dry-run"),
        "tag": (experiment, "one"), "note": one, "rename": (experiment, HOSTILE.replace("\n", " ")[:40]),
        "archive": one, "withdraw": (experiment, "wrong"), "delete": (experiment, "--yes"),
    }  # fmt: skip


def test_every_command_prints_hostile_names_harmlessly(hostile, tmp_path):
    run, experiment = hostile
    spec = tmp_path / "spec.yaml"
    asked = calls(experiment, spec)
    commands = {" ".join(name) for name, _ in cli_commands(__import__("typer").main.get_command(app))}
    assert commands - LOCAL == set(asked)
    printed = ""
    for command, arguments in asked.items():
        for form in ((), ("--json",)):
            _, out, err = run(*command.split(), *arguments, *form)
            assert harmless(out + err), f"{command} {form}: {FORBIDDEN & set(out + err)} in {out + err!r}"
            printed += out + err
    assert printed.count("owned") > 2 * len(asked)  # so that the poison came through
    assert "[red]markup" in printed


def test_a_name_with_a_line_break_is_refused_on_one_line(twostream, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.replace("small", '"one\\r\\nexp_0\\ttwo"'))
    code, _, errors = twostream("submit", str(spec))
    assert code == 2
    [line] = [line for line in errors.splitlines() if "name" in line]
    assert "on one line, without control characters" in line
    assert harmless(line)


def harmless(printed: str) -> bool:
    return not FORBIDDEN & set(printed)


def test_a_text_keeps_its_lines_and_a_line_is_one():
    assert plain("a\r\nb\rc\td\n") == "a\nb\nc\td\n"
    assert one_line("a\r\nb\tc") == "a b c"
    assert harmless(plain(HOSTILE))
    assert one_line(HOSTILE).splitlines() == [one_line(HOSTILE)]
    assert plain("Füße – 人 👩‍🔬 e\N{COMBINING ACUTE ACCENT}") == "Füße – 人 👩‍🔬 e\N{COMBINING ACUTE ACCENT}"  # noqa: RUF001


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_progress_is_harmless(kind):
    out = io.StringIO()
    display = kind(Console(file=out, width=200))
    stage = {"key": "k", "name": HOSTILE, "state": "running", "attempt": 1, "finished_at": None, "cause": None}
    stage |= {"message": None, "progress": {"done": 1, "total": 2, "unit": HOSTILE, "message": HOSTILE}}
    experiment = {"id": "exp_1", "name": HOSTILE, "state": "failed", "reused": 0, "cause": HOSTILE, "message": HOSTILE}
    experiment |= {"progress": {"stages": {}, "total": 1}, "created_at": "2026-01-01T00:00:00+00:00"}
    display.update(experiment, [stage, stage | {"key": "l", "state": "failed", "message": HOSTILE}])
    display.say(HOSTILE)
    display.close()
    assert harmless(out.getvalue().replace("\x1b[?25l", "").replace("\x1b[?25h", "")), repr(out.getvalue())


def test_what_only_events_know_is_harmless(monkeypatch, capsys):
    watch = Watch(client=None, experiments=[])  # type: ignore[arg-type]
    watch._tell(Event("1", "stage.retried", {"stage_key": HOSTILE, "data": {"cause": HOSTILE, "message": HOSTILE}}))
    out = capsys.readouterr().out
    assert "is tried again" in out
    assert harmless(out)


def test_the_stacks_lines_are_harmless(capsys):
    for as_json in (False, True):
        Report(as_json).say(f"log: {HOSTILE}", home=HOSTILE)
    out = capsys.readouterr().out
    assert harmless(out)
    assert len(out.splitlines()) == 2
    assert json.loads(out.splitlines()[1])["home"] == HOSTILE


def test_the_doctor_prints_hostile_files_harmlessly(twostream, monkeypatch, tmp_path):
    report = {name: {HOSTILE: HOSTILE} for name in FINDINGS}
    report |= {"duplicates": [[HOSTILE, HOSTILE]], "surplus": [HOSTILE] * 12, "root": HOSTILE, "decoder": HOSTILE}
    report |= {name: {HOSTILE: 1} for name in COUNTED}
    report |= dict.fromkeys(
        ("classes", "clips", "present", "frames", "interlaced", "turned", "mirrored", "excluded"), 1
    )
    (tmp_path / "sitecustomize.py").write_text(  # which Python imports as it starts: the doctor says this and ends
        f"import os, sys\nprint({json.dumps({'report': report})!r}, flush=True)\n"
        f"sys.stderr.write({HOSTILE[:-1]!a})\nsys.stderr.flush()\nos._exit(0)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("lists", "clips"):
        (tmp_path / name).mkdir()
    (tmp_path / "lists" / "classInd.txt").write_text("1 Walk\n")
    for kind in ("train", "test"):
        (tmp_path / "lists" / f"{kind}list01.txt").write_text(f"Walk/v_Walk_g0{len(kind)}_c01.avi 1\n")
    where = ("--root", str(tmp_path / "clips"), "--splits", str(tmp_path / "lists"))
    for form in ((), ("--json",)):
        code, out, err = twostream("dataset", "check", *where, *form)
        assert code == 1
        assert harmless(out + err), repr(out + err)


def test_letters_that_the_terminal_lacks_are_escaped(twostream, tmp_path):
    del twostream
    script = "import sys; from cli.terminal import say, take_any_letter; take_any_letter(); say('人 \\x1b')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONIOENCODING": "latin-1", "PYTHONPATH": "."},
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"\\u4eba \\ufffd\n"
