"""`docs/client.md`, executed as in a notebook, and what goes wrong in one."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli import Client, CommandError
from cli.client import Rows
from services.queue import attempts
from services.queue.attempts import Fact
from tests.cli.conftest import SEEDS, SPEC
from tests.services.conftest import Decreed

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
EXAMPLE = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
LEARNING = Fact("metrics", 1, {"step": 1, "values": {"train_loss": 2.0, "train_accuracy": 0.25}})


def finish_everything(database):
    """End all stages by decree, with a learning curve."""
    worker = Decreed(database)
    while (claim := worker.claim_any()) is not None:
        if claim.kind == "train":
            with database.transaction() as session:
                attempts.record(session, claim.key, claim.attempt, [LEARNING])
        worker.succeed(claim)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_example_runs(api, database, monkeypatch, capsys):
    monkeypatch.setenv("TWOSTREAM_API_URL", api)
    submitted = threading.Event()
    submit = Client.submit

    def told(client, spec):
        answer = submit(client, spec)
        submitted.set()
        return answer

    monkeypatch.setattr(Client, "submit", told)  # says when there is something to do

    def work():
        assert submitted.wait(60)
        finish_everything(database)

    worker = threading.Thread(target=work)
    worker.start()
    found: dict[str, object] = {}
    exec(EXAMPLE[0], found)
    worker.join()
    assert found["ended"]["state"] == "succeeded"
    assert set(found["table"]["metrics.top1.value"].dropna()) == {0.5}
    assert found["curves"].startswith(b"\x89PNG")
    assert list(found["board"]["rows"].to_frame()["name"]) == ["from a notebook"]
    out = capsys.readouterr().out
    assert "succeeded {" in out
    assert "metrics.top1.value" in out


def test_a_file_is_submitted_shown_and_cancelled(api, tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(SPEC.replace("small", "of a file") + f"seeds: [9{next(SEEDS)}]\n")
    with Client.connect(f"{api}/") as client:
        made = client.submit(file, idempotency_key="a file")
        assert client.submit(str(file), idempotency_key="a file")["id"] == made["id"]
        assert client.experiment("of a file")["spec"]["dataset"] == "motion_shapes"
        assert client.results("of a file") == []
        with pytest.raises(CommandError, match="not finished after 0 s; hint: it goes on"):
            client.wait("of a file", timeout=0)
        assert client.experiment("of a file")["state"] == "queued"
        client.post(f"/experiments/{made['id']}/cancel")
        seen = []
        assert client.wait("of a file", lambda experiment, stages: seen.append((experiment["state"], len(stages))))
        assert seen[-1] == ("cancelled", 5)
        assert client.wait("of a file")["state"] == "cancelled"
        with pytest.raises(CommandError, match=r"training\.epochs: got 0, allowed: ") as error:
            client.submit({"dataset": "motion_shapes", "training": {"epochs": 0}})
        assert error.value.problem["status"] == 422


def test_without_pandas_a_frame_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(CommandError, match="pip install pandas"):
        Rows([{"value": 1}]).to_frame()


def test_the_client_loads_without_what_a_notebook_may_lack():
    script = (
        "import sys; from cli import Client; sys.exit(bool({'typer', 'rich', 'pandas', 'httpx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
