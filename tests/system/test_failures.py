"""Experiments that end without a result: cancelled, and with data or weights that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch

from services.api_keys import LOCAL
from services.db.tables import StageRow
from services.planning import submission
from services.queue import experiments
from tests.ports import reserved
from tests.system.conftest import Service, rank_process, spec, training

pytestmark = [pytest.mark.xdist_group("failures"), pytest.mark.timeout(600)]
SHORT = {"backbone": {"name": "tiny", "finetune": None}, "training": training(1)}
"""What differs of an experiment that only has to end."""


@pytest.fixture(scope="module")
def service(migrated_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all, with a worker: whatever fails, it goes on."""
    folder = tmp_path_factory.mktemp("failures")
    with reserved() as port:
        service = Service(folder, migrated_database(), folder / "data", port)
        try:
            service.start_worker()
            yield service
        finally:
            service.close()


def test_a_cancelled_experiment_leaves_no_process(service: Service) -> None:
    [worker] = service.workers
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
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Punch\n2 YoYo\n")
    (lists / "trainlist01.txt").write_text("Punch/v_Punch_g01_c01.avi 1\nYoYo/v_YoYo_g01_c01.avi 2\n")
    (lists / "testlist01.txt").write_text("Punch/v_Punch_g02_c01.avi\n")
    (tmp_path / "clips" / "Punch").mkdir(parents=True)
    service.add_dataset("broken", root=str(tmp_path / "clips"), annotations=str(lists))
    service.add_dataset("absent", root=str(tmp_path / "nowhere"), annotations=str(lists))
    broken, absent = service.submit(spec(dataset="broken", **SHORT)), service.submit(spec(dataset="absent", **SHORT))
    good = service.submit(spec(**SHORT))
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
    with service.database.transaction() as session:
        made = submission.submit(session, spec(seeds=[1], **SHORT), owner="local", body_digest="0" * 64)
        foreign = made.row.id
        [row] = [view.row for view in experiments.stages(session, foreign) if view.row.kind == "train"]
        row.params = {**row.params, "input": {"kind": "video"}}
    service.broker.ring(made.queues)
    good = service.submit(spec(model={"kind": "mean_pooling"}, **SHORT))
    service.finish(foreign, "failed")
    service.finish(good)
    with service.database.transaction() as session:
        ended = experiments.get(session, foreign)
        assert session.get_one(StageRow, row.key).attempt == 1  # there is no use in trying again
    assert ended.cause == "user_error"
    assert "train: its parameters are not those of version 4: input: Input tag 'video'" in str(ended.message)
    assert "submit the experiment again" in str(ended.message)


def test_weights_of_another_network_are_refused_by_key(service: Service, tmp_path: Path) -> None:
    torch.save({"other.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    backbone = {"name": "tiny", "weights": str(tmp_path / "weights.pt"), "finetune": None}
    experiment_id = service.submit(spec(backbone=backbone))
    service.finish(experiment_id, "failed")
    with service.database.transaction() as session:
        row = experiments.get(session, experiment_id)
    assert row.cause == "user_error"
    assert "weights of another architecture: 0.weight is missing" in str(row.message)
