"""schemathesis against a real API process: no server error, no answer outside the OpenAPI document, nothing that fits
the document refused. Bounded, and the same cases each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.db.engine import Database
from tests.api.conftest import SPEC, Worker
from tests.api.processes import api_process
from tests.cli.stacks import PATIENCE_SECONDS

pytestmark = [pytest.mark.xdist_group("schemathesis"), pytest.mark.timeout(900)]
EXAMPLES = pytest.mark.parametrize("examples", [3, pytest.param(30, marks=pytest.mark.long)])
"""Of each operation; the first are the same."""
TOKEN = {"Authorization": "Bearer t"}
CONFIGURATION = """
request-timeout = {patience}
max-stream-events = 20
[generation]
max-examples = {examples}
deterministic = true
database = "none"
[phases.fuzzing]  # no ids of answers: the event stream of an experiment that nobody runs does not end
extra-data-sources.responses = false
[[operations]]  # what two fields may be together, such as a model and its streams, a schema does not say
include-name = "POST /experiments"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor which fields an experiment has
include-name = "POST /sweeps"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor what a folder of lists holds
include-name = "POST /datasets"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor what a file of scores holds
include-name = "POST /scores"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor which cursors it gave
include-name = "GET /leaderboard"
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404", "409"]
[[operations]]  # nor how many systems an experiment fuses
include-name = "GET /experiments/{{experiment_id}}/fusion/sweep"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor which ids differ
include-name = "GET /compare/several"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor which datasets there are
include-name = "GET /ensembles/suggest"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # nor which rows a table has
include-path-regex = "/launch$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
[[operations]]  # there is no MLflow here
include-name = "POST /experiments/{{experiment_id}}/register"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", "503"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422", "503"]
[[operations]]  # nor which splits and seeds it has
include-name = "GET /experiments/{{experiment_id}}/model"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"""


@pytest.fixture(scope="module")
def database(migrated_database: Callable[[], str]) -> Iterator[Database]:
    url = migrated_database()
    database = Database(url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def api(servers, database, redis_server) -> Iterator[str]:
    with api_process(servers, database, redis_server, TWOSTREAM_API_TOKEN="t") as part:
        yield part.url
        assert "Traceback" not in part.log.read_text()


@pytest.fixture(scope="module")
def finished(api: str, database: Database) -> str:
    """The id of an experiment that has succeeded, so that its event stream ends."""
    with httpx.Client(base_url=api, trust_env=False, headers=TOKEN, timeout=PATIENCE_SECONDS) as client:
        found: str = client.post("/experiments", json=SPEC).json()["id"]
    Worker(database, 0.5).finish_all()
    return found


def run(folder: Path, api: str, *options: str, examples: int, parameters: str = "") -> str:
    """Run schemathesis and return its summary."""
    file = folder / "schemathesis.toml"
    file.write_text(CONFIGURATION.format(patience=PATIENCE_SECONDS, examples=examples) + parameters)
    program = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(file), "run"]
    asked = [*program, f"{api}/openapi.json", "--header", "Authorization: Bearer t", "--phases", "fuzzing", *options]
    environment = {**os.environ, "NO_COLOR": "1", "NO_PROXY": "*"}
    done = subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.partition(" SUMMARY ")[2].partition("\n")[2]
    assert re.search(r"\d+ generated, \d+ passed", summary), done.stdout
    return summary


@EXAMPLES
def test_any_request_is_answered_as_documented(api, tmp_path, record_property, examples):
    record_property("schemathesis", f"any ids:\n{run(tmp_path, api, examples=examples)}")


@EXAMPLES
def test_requests_about_what_is_there_are_answered_as_documented(api, finished, tmp_path, record_property, examples):
    parameters = (
        f'[[operations]]\ninclude-path-regex = "experiment_id"\nparameters = {{ experiment_id = "{finished}" }}\n'
    )
    kept = ("--exclude-method", "DELETE")  # it is there for all
    summary = run(
        tmp_path, api, "--include-path-regex", "experiment_id", *kept, examples=examples, parameters=parameters
    )
    record_property("schemathesis", f"an experiment that is there, its event stream too:\n{summary}")
