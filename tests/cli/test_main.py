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


HEAVY = ("numpy", "sqlalchemy", "mlflow", "celery", "psutil", "torch", "rarfile", "click")
DRAWN = ("httpx", "pydantic", "pydantic_core", "rich.console", "rich.progress", "rich.table", "rich.text", "yaml")
"""What a command that asks an API and draws a table loads, pydantic for Typer, and no other one."""


@pytest.mark.parametrize(
    ("arguments", "heavy"), [(("--version",), HEAVY + DRAWN), (("-h",), HEAVY + DRAWN), (("list",), HEAVY)]
)
def test_a_plain_command_loads_nothing_that_takes_long(api, arguments, heavy):
    script = f"""
import sys, cli.main
try:
    cli.main.main({arguments})
except SystemExit as ended:
    assert not ended.code
print("loaded:", *({set(heavy)} & set(sys.modules)))"""
    environment = {**os.environ, "TWOSTREAM_API_URL": api}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.splitlines()[-1] == "loaded:"
