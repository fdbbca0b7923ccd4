"""Every end of the command: help, an answer, an error, and no traceback."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest


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


def test_help_documents_exit_codes_and_usage_errors_exit_with_2(twostream):
    code, out, _ = twostream("--help")
    assert code == 0
    assert "4 conflict" in out
    assert twostream("-h")[:2] == (0, out)
    assert twostream("scores", "add", "-h")[0] == 0
    assert twostream("--version") == (0, f"twostream {version('twostream')}\n", "")
    assert twostream("submit")[0] == 2
    assert twostream("nonsense")[0] == 2


HEAVY = (
    *("numpy", "sqlalchemy", "mlflow", "celery", "psutil", "torch", "rarfile", "click", "yaml", "statistics"),
    *("pydantic", "pydantic_core", "rich", "anyio", "asyncio", "pygments", "email.mime", "cli.stack.process"),
)
"""What takes long to load, and no command loads that asks the API and prints an answer."""
COMMANDS = "cli.commands."


@pytest.mark.parametrize(
    ("arguments", "modules"),
    [
        (("--version",), set()),
        (("list",), {"experiments"}),
        (("list", "--json", "--limit", "7", "--state", "queued"), {"experiments"}),
        (("leaderboard",), {"leaderboard"}),
        (("queue",), {"fleet"}),
        (("show", "ID"), {"experiments"}),
        (("dataset", "list"), {"check", "datasets", "fetch"}),
    ],
)
def test_a_plain_command_loads_nothing_that_takes_long(api, submitted, arguments, modules):
    words = [submitted if word == "ID" else word for word in arguments]
    script = f"""
import sys, cli.main
sys.argv[1:] = {words}
try:
    cli.main.main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", *(name for name in {HEAVY} if sys.modules.get(name)))
print("commands:", *sorted(name for name in sys.modules if name.startswith({COMMANDS!r})))"""
    environment = {**os.environ, "TWOSTREAM_API_URL": api}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    *_, loaded, commands = run.stdout.splitlines()
    allowed = {"statistics", "email.mime"} if arguments[0] == "dataset" else set()
    assert set(loaded.split()[1:]) <= allowed
    assert {name.removeprefix(COMMANDS) for name in commands.split()[1:]} == modules


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--limit", "0"), "greater than or equal to 1"),
        (("list", "--limit", "many"), "valid integer"),
        (("list", "--limit", "201"), "less than or equal to 200"),
        (("list", "--nope"), "--nope"),
        (("show",), "ID"),
        (("lst",), "list"),
        (("dataset", "nope"), "nope"),
    ],
)
def test_what_is_not_plain_is_worded_by_typer(twostream, arguments, words):
    code, _, err = twostream(*arguments)
    assert (code, words in err) == (2, True), err
