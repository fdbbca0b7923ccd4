"""`docs/client.md`, executed as in a notebook, and what goes wrong in one."""

from __future__ import annotations

import asyncio
import inspect
import re
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from cli import AsyncClient, Client, CommandError, answers
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
    assert "from a notebook" in list(found["board"]["rows"].to_frame()["name"])
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


NOTEBOOK = PAGE.with_name("notebook.ipynb")


def test_the_notebook_runs(api, database, monkeypatch, tmp_path):
    monkeypatch.setenv("TWOSTREAM_API_URL", api)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    over = threading.Event()

    def work():
        while not over.wait(0.1):
            finish_everything(database)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    finally:
        over.set()
        worker.join()
    said = {cell["id"]: cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"}
    assert said["wait"][-1]["data"]["text/plain"] == "'succeeded'"
    assert "0.5" in said["results"][0]["data"]["text/plain"]
    assert "<svg" in said["figure"][0]["data"]["image/svg+xml"]
    assert "order matters" in said["together"][0]["data"]["text/plain"]


def test_an_event_loop_goes_on_while_a_client_waits(api, database):
    async def follow():
        ticks, seen = 0, []

        async def told(experiment, stages):
            seen.append((experiment["state"], len(stages)))
            await asyncio.sleep(0)

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        async with AsyncClient.connect(api) as client:
            assert client.url == api
            spec = {"dataset": "motion_shapes", "splits": [1], "streams": ["rgb"], "seeds": [9000 + next(SEEDS)]}
            made = await client.submit({"name": "in a loop", "backbone": {"name": "tiny", "finetune": None}, **spec})
            with pytest.raises(CommandError, match="not finished after 0 s; hint: it goes on"):
                await client.wait(made["id"], timeout=0)
            ticking = asyncio.ensure_future(tick())
            waiting = asyncio.ensure_future(client.wait(made["id"], told))
            while not seen:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(finish_everything, database)
            ended = await waiting
            ticking.cancel()
            assert ended["state"] == "succeeded"
            assert seen[-1] == ("succeeded", 5)
            assert ticks > 3
            found, page, picture = await asyncio.gather(
                client.results("in a loop"), client.get("/experiments", name="in a loop"), client.content("/")
            )
            assert {row["metrics"]["top1"]["value"] for row in found if row["metrics"]} == {0.5}
            assert page["total"] == 1
            assert picture
            with pytest.raises(CommandError, match="no experiment"):
                await client.experiment("nobody")

    asyncio.run(follow())


SWEEP = {
    "experiment": {
        "name": "searched",
        "dataset": "motion_shapes",
        "splits": [1],
        "streams": ["rgb"],
        "backbone": {"name": "tiny", "finetune": None},
    },
    "space": {"model.segments": {"choices": [1, 3]}},
    "sampler": {"kind": "grid"},
}


def test_a_sweep_is_foreseen_begun_awaited_and_has_its_trials(api):
    with Client.connect(api) as client:
        foreseen = client.sweep(SWEEP, dry_run=True)
        assert (foreseen["trials"], foreseen["points"], len(foreseen["trial"]["stages"])) == (2, 2, 3)
        assert client.get("/sweeps")["total"] == 0
        made = client.sweep(SWEEP, idempotency_key="once")
        assert client.sweep(SWEEP, idempotency_key="once")["id"] == made["id"]
        with pytest.raises(CommandError, match=f"{made['id']}: not ended after 0 s; hint: it goes on"):
            client.wait_for_sweep(made["id"], timeout=0)
        client.post(f"/sweeps/{made['id']}/cancel")
        seen = []
        ended = client.wait_for_sweep(made["id"][:16], lambda found: seen.append(found["state"]), timeout=120)
        assert (ended["state"], seen[-1], ended["best"]) == ("cancelled", "cancelled", None)
        found = client.trials(made["id"])
        assert [each["number"] for each in found] == [each["number"] for each in ended["results"]]
        with pytest.raises(CommandError, match="no sweep has an id that begins with 'swp_ffff'"):
            client.trials("swp_ffff")

    async def follow():
        async with AsyncClient.connect(api) as client:
            assert (await client.sweep(SWEEP, dry_run=True))["total"] == foreseen["total"]
            assert (await client.wait_for_sweep(made["id"], timeout=60))["state"] == "cancelled"
            assert await client.trials(made["id"]) == found

    asyncio.run(follow())


def test_the_asynchronous_client_has_every_method_with_the_same_parameters():
    methods = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)))
    assert {"submit", "sweep", "delete"} <= set(methods)
    for name in methods:
        ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (Client, AsyncClient))
        assert [*ours] == [*theirs], name
        assert inspect.iscoroutinefunction(getattr(AsyncClient, name)), name


def test_answers_are_typed_as_the_api_says(api):
    with Client.connect(api) as client:
        shapes = client.get("/openapi.json")["components"]["schemas"]
    theirs = {"Board": "Leaderboard", "Estimate": "StageEstimate"}
    for name in (
        "Finding",
        "Experiment",
        "ExperimentDetail",
        "Stage",
        "StageProgress",
        "Value",
        "Result",
        "Entry",
        "Board",
        "Estimate",
        "PlannedStage",
        "DryRun",
        "SweepTrial",
        "Sweep",
        "SweepDetail",
        "BestExperiment",
        "SweepDryRun",
    ):
        typed = getattr(answers, name).__annotations__
        known = shapes[theirs.get(name, name)]["properties"]
        assert typed.keys() - known.keys() == set(), name
        for field, type_ in typed.items():
            null = "null" in str(known[field])
            assert ("None" in str(type_)) == null, f"{name}.{field}"
