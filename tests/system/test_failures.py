"""What must survive: killed processes, double and lost messages, a broker that is emptied, a worker that is stopped."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest
import torch

from services import experiments
from services.api_keys import LOCAL
from tests.system.conftest import PATIENCE_SECONDS, Service, kill, rank_process, spec, training

pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(600)]
LONG = {"training": training(100)}
"""Training that goes on for seconds after the checkpoint for which a test waits."""


def bits(service: Service, experiment_id: str) -> dict[str, object]:
    """The trained weights and the scores of an experiment, ready to be compared bit for bit."""
    weights: dict[str, object] = {}
    for kind in ("finetune", "train"):
        state = torch.load(service.output(experiment_id, kind) / "model.pt", weights_only=True)
        weights |= {f"{kind}.{name}": tensor.numpy().tobytes() for name, tensor in state.items()}
    assert len(weights) > 10
    return weights | {"scores": (service.output(experiment_id, "score") / "scores.json").read_bytes()}


def test_killed_processes_resume_to_the_same_bits(service: Service) -> None:
    worker = service.start_worker()
    undisturbed = service.submit(spec(**LONG))
    service.finish(undisturbed)
    expected = bits(service, undisturbed)

    service.forget()
    disturbed = service.submit(spec(**LONG))
    service.wait_for_event("checkpoint", "finetune", 2)
    kill(rank_process(worker).pid)
    service.wait_for_event("checkpoint", "train", 3)
    rank = rank_process(worker)
    kill(worker.pid)
    worker = service.start_worker()
    service.finish(disturbed)
    assert not psutil.pid_exists(rank.pid)
    assert service.attempts("finetune") == [("failed", "worker_lost"), ("succeeded", None)]
    assert service.attempts("train") == [("failed", "worker_lost"), ("succeeded", None)]
    assert bits(service, disturbed) == expected

    service.forget()
    stopped = service.submit(spec(**LONG))
    service.wait_for_event("checkpoint", "finetune", 2)
    worker.child.send_signal(signal.SIGTERM)
    worker.child.wait(PATIENCE_SECONDS)
    service.start_worker()
    service.finish(stopped)
    assert service.attempts("finetune") == [("failed", "preempted"), ("succeeded", None)]
    assert bits(service, stopped) == expected


def test_double_and_lost_messages_train_once(service: Service) -> None:
    experiment_id = service.submit(spec())
    service.broker.ring({"cpu": 5, "gpu": 5})
    service.start_worker()
    service.wait_for_event("checkpoint", "finetune")
    service.broker.ring({"cpu": 5, "gpu": 5})
    service.redis_away()
    service.redis_back()
    service.finish(experiment_id)
    for kind in ("index", "finetune", "extract", "train", "score", "fuse"):
        assert service.attempts(kind) == [("succeeded", None)], kind


def test_a_cancelled_experiment_leaves_no_process(service: Service) -> None:
    worker = service.start_worker()
    experiment_id = service.submit(spec())
    service.wait_for_event("checkpoint", "finetune")
    rank = rank_process(worker)
    with service.database.transaction() as session:
        experiments.cancel(session, experiment_id, LOCAL)
    service.finish(experiment_id, "cancelled")
    assert not psutil.pid_exists(rank.pid)
    assert not [left for zygote in psutil.Process(worker.pid).children() for left in zygote.children()]
    assert service.attempts("finetune") == [("failed", "cancelled")]


def test_a_bad_dataset_fails_by_name_and_others_go_on(service: Service, tmp_path: Path) -> None:
    service.start_worker()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Punch\n2 YoYo\n")
    (lists / "trainlist01.txt").write_text("Punch/v_Punch_g01_c01.avi 1\nYoYo/v_YoYo_g01_c01.avi 2\n")
    (lists / "testlist01.txt").write_text("Punch/v_Punch_g02_c01.avi\n")
    (tmp_path / "clips" / "Punch").mkdir(parents=True)
    service.add_dataset("broken", root=str(tmp_path / "clips"), annotations=str(lists))
    service.add_dataset("absent", root=str(tmp_path / "nowhere"), annotations=str(lists))
    short = {"backbone": {"name": "tiny", "finetune": None}}
    broken, absent = service.submit(spec(dataset="broken", **short)), service.submit(spec(dataset="absent", **short))
    good = service.submit(spec(**short))
    service.finish(broken, "failed")
    service.finish(absent, "failed")
    service.finish(good)
    with service.database.transaction() as session:
        first, second = experiments.get(session, broken), experiments.get(session, absent)
    assert (first.cause, second.cause) == ("data_error", "data_error")
    assert "trainlist01.txt:1" in str(first.message)
    assert "v_Punch_g01_c01.avi" in str(first.message)
    assert str(tmp_path / "nowhere") in str(second.message)


def test_weights_of_another_network_are_refused_by_key(service: Service, tmp_path: Path) -> None:
    service.start_worker()
    torch.save({"other.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    backbone = {"name": "tiny", "weights": str(tmp_path / "weights.pt"), "finetune": None}
    experiment_id = service.submit(spec(backbone=backbone))
    service.finish(experiment_id, "failed")
    with service.database.transaction() as session:
        row = experiments.get(session, experiment_id)
    assert row.cause == "user_error"
    assert "weights of another architecture: 0.weight is missing" in str(row.message)
