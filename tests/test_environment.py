"""Whoever runs the tests has an environment of their own, which leads no test elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

THEIRS = {
    "TWOSTREAM_LEASE_SECONDS": "7",
    "PGSSLMODE": "require",
    "AWS_PROFILE": "lab",
    "MLFLOW_TRACKING_URI": "http://mlflow.example",
    "GIT_DIR": "/elsewhere",
    "MAKEFLAGS": "-n",
    "COLUMNS": "40",
    "FORCE_COLOR": "1",
}
PROXY = {"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "lab.example"}


def test_settings_of_who_runs_the_tests_do_not_reach_them(tmp_path: Path) -> None:
    code = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
    environment = os.environ | THEIRS | PROXY | {"TMPDIR": str(tmp_path)}
    command, root = [sys.executable, "-c", code], Path(__file__).parents[1]
    found = json.loads(subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True).stdout)
    assert found.keys() & THEIRS.keys() == set()
    assert (found["HTTP_PROXY"], found["NO_PROXY"]) == (PROXY["HTTP_PROXY"], "lab.example,localhost,127.0.0.1,::1")
