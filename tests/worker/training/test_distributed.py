"""Two real processes over Gloo train as one process does, and stop together."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.ports import reserved
from worker.training import checkpoint
from worker.training.distributed import World, joined, wrap

PROGRAM = Path(__file__).with_name("one_of_two.py")
TIMES = {"epoch_seconds", "data_wait_ratio"}
pytestmark = pytest.mark.timeout(600)  # two processes load torch, on a machine that is busy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave behind."""
    folder = tmp_path_factory.mktemp("two")
    with reserved() as port:
        shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        shared["PYTHONPATH"] = os.pathsep.join(sys.path)
        subprocess.run([sys.executable, str(PROGRAM), str(folder)], env=shared, check=True, timeout=480)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves behind that does the same work."""
    folder = tmp_path_factory.mktemp("one")
    runpy.run_path(str(PROGRAM))["main"](folder)
    return folder


def test_both_processes_have_the_same_weights(folder: Path) -> None:
    one, other = (checkpoint.load(folder / "undisturbed" / f"model{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_batch_norm_keeps_the_statistics_of_each_process_and_shares_its_weights(folder: Path) -> None:
    one, other = (checkpoint.load(folder / "normalised" / f"model{rank}.pt") for rank in (0, 1))
    differing = {name for name in one if not torch.equal(one[name], other[name])}
    assert differing == {"input_norm.running_mean", "input_norm.running_var", "norm.running_mean", "norm.running_var"}


def test_weights_and_history_are_those_of_one_process(folder: Path, alone: Path) -> None:
    together, single = (checkpoint.load(path / "undisturbed" / "model0.pt") for path in (folder, alone))
    for name, value in single.items():
        torch.testing.assert_close(together[name], value)
    rows, expected = (checkpoint.load(path / "history0.pt")["history"] for path in (folder, alone))
    for row, own in zip(rows, expected, strict=True):
        assert {k: v for k, v in row.items() if k not in TIMES} == pytest.approx(
            {k: v for k, v in own.items() if k not in TIMES}
        )


def difference(one: Path, other: Path) -> float:
    """The largest difference of two weights, relative to the largest weight of their tensor."""
    a, b = checkpoint.load(one), checkpoint.load(other)
    return max(float((a[name] - b[name]).abs().max() / b[name].abs().max()) for name in b)


@pytest.mark.parametrize("name", ["long", "micro", "auto"])
def test_two_processes_equal_one_after_20_steps_in_float64(folder: Path, alone: Path, name: str) -> None:
    """Whole batches, micro batches, and micro batches that one of two processes alone asks for."""
    found = difference(folder / name / "model0.pt", alone / "long" / "model0.pt")
    print(f"{name}: two processes differ from one by {found:.1e} after 20 steps")
    assert found < 1e-6
    one, two = (checkpoint.load(folder / name / f"model{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(one[entry], two[entry]) for entry in one)


def test_both_processes_halve_when_one_is_short_of_memory(folder: Path) -> None:
    assert "going on with micro batches of 2" in (folder / "auto" / "events0").read_text()


def test_a_stop_that_one_process_is_asked_for_stops_both_at_the_same_step(folder: Path) -> None:
    messages = {(folder / f"interrupted{rank}").read_text() for rank in (0, 1)}
    assert messages == {"stopped in epoch 1 after step 1"}


def test_the_resumed_run_ends_like_the_undisturbed_one(folder: Path) -> None:
    resumed, undisturbed = (checkpoint.load(folder / name / "model1.pt") for name in ("stopped", "undisturbed"))
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in resumed)


def test_only_the_first_process_writes_checkpoints(folder: Path) -> None:
    kinds = [(folder / "stopped" / f"events{rank}").read_text().count('"checkpoint"') for rank in (0, 1)]
    assert kinds[0] > 0
    assert kinds[1] == 0


def test_a_process_alone_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    model = nn.Linear(2, 2)
    with joined(torch.device("cpu")) as world:
        assert world == World()
        assert world.leads
        assert wrap(model, world, torch.device("cpu")) is model
        assert world.agree(True)
        assert torch.equal(world.sum(torch.ones(2)), torch.ones(2))
