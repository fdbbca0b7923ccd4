"""Experiments that end without a result: cancelled, and with data or weights that are wrong."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from sqlalchemy import select

from services.api_keys import LOCAL
from services.db.tables import StageRow
from services.queue import experiments
from tests.system.conftest import Service, rank_process, spec

pytestmark = [pytest.mark.xdist_group("failures"), pytest.mark.timeout(600)]


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


def test_a_stage_that_another_version_planned_fails_by_name_and_others_go_on(service: Service) -> None:
    """Such as one that waited while twostream was replaced, where no migration knows its parameters."""
    short = {"backbone": {"name": "tiny", "finetune": None}}
    foreign, good = service.submit(spec(**short)), service.submit(spec(model={"kind": "mean_pooling"}, **short))
    with service.database.transaction() as session:
        query = select(StageRow).where(StageRow.kind == "train", StageRow.label.contains("ts_lstm"))
        row = session.scalars(query).one()
        row.params = {**row.params, "input": {"kind": "video"}}
    service.start_worker()
    service.finish(foreign, "failed")
    service.finish(good)
    with service.database.transaction() as session:
        ended = experiments.get(session, foreign)
        assert session.get_one(StageRow, row.key).attempt == 1  # there is no use in trying again
    assert ended.cause == "user_error"
    assert "train: its parameters are not those of version 4: input: Input tag 'video'" in str(ended.message)
    assert "submit the experiment again" in str(ended.message)


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
