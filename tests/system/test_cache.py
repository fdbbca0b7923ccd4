"""A collection beside a real worker: what runs keeps its inputs, what is gone is made again to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from services.cache.collection import Collector
from services.cache.inventory import Category, Inventory
from services.queue import experiments, hours, use, workers
from tests.system.conftest import Service, rank_process, spec, stopped, training

pytestmark = [pytest.mark.xdist_group("cache"), pytest.mark.timeout(600)]
EVERYTHING: tuple[Category, ...] = ("flow", "features", "models", "scores", "leftovers")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Folder of generated clips, flow and frames of one test: what others left there would be collected too."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def collector(service: Service) -> Collector:
    return Collector(service.database, service.store, service.settings.data, grace_seconds=0, tracked=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def kinds(inventory: Inventory) -> set[str]:
    return {entry.category for entry in inventory.entries}


def states(service: Service, experiment_id: str) -> dict[str, str]:
    with service.database.transaction() as session:
        return {view.row.kind: view.row.state for view in experiments.stages(session, experiment_id)}


def assert_measured(service: Service, experiment_id: str) -> None:
    """What each attempt used is there, and what the worker does."""
    with service.database.transaction() as session:
        found = use.of_experiment(session, experiment_id)
        [worker] = workers.listing(session)
        assert hours.hours(session, experiment=experiment_id).total.unmeasured == 0
    assert all(each.cpu_seconds and each.gpus == 0 for each in found)
    [tuned] = [each for each in found if each.label.startswith("finetune")]
    assert 0 < (tuned.curves.mean("cpu") or 0) < 64
    assert (tuned.curves.most("memory_bytes") or 0) > 10**7
    assert worker.use is not None
    assert worker.use["gpus"] == []


@pytest.mark.long
def test_a_running_stage_keeps_its_inputs_and_evicted_ones_are_made_again(service: Service) -> None:
    worker = service.start_worker()
    flow = {"streams": ["flow"], "flow": {"algorithm": "farneback", "shards": 1, "stack": 3}}
    flow["training"] = training(2)
    first = service.submit(spec(**flow))
    service.wait_for_event("checkpoint", "finetune")
    gc = collector(service)
    with stopped(rank_process(worker)):
        flow_files = contents(service.output(first, "flow"))
        assert gc.collect(0, EVERYTHING).taken == ()
        assert contents(service.output(first, "flow")) == flow_files
        [entry] = [entry for entry in gc.take_stock().entries if entry.category == "flow"]
        assert "needed by " in str(entry.held)
    service.finish(first)
    assert service.attempts("finetune") == [("succeeded", None)]
    assert_measured(service, first)
    features, model = (contents(service.output(first, kind)) for kind in ("extract", "train"))

    shared = [file for file in (service.settings.data / "flow").rglob("*.npy") if file.stat().st_nlink == 2]
    assert len(shared) == sum(name.endswith(".npy") for name in flow_files)
    assert {entry.category for entry in gc.collect(0).taken} == {"flow", "features"}
    assert not any(file.exists() for file in shared)
    assert kinds(gc.take_stock()) == {"index", "models", "scores"}
    assert service.state(first) == "succeeded"
    assert (states(service, first)["flow"], states(service, first)["extract"]) == ("evicted", "evicted")

    second = service.submit(spec(**flow, seeds=[0], model={"kind": "mean_pooling"}))
    service.finish(second)
    assert states(service, second) == dict.fromkeys(states(service, second), "succeeded")
    assert contents(service.output(second, "flow")) == flow_files
    assert contents(service.output(second, "extract")) == features
    assert contents(service.output(first, "train")) == model
    for kind in ("flow", "extract"):
        assert service.attempts(kind) == [("succeeded", None)] * 2, kind
    assert service.attempts("finetune") == [("succeeded", None)]


@pytest.mark.long
def test_frames_on_disk_change_no_bit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(experiment_id: str) -> dict[str, bytes]:
        state = torch.load(service.output(experiment_id, "finetune") / "model.pt", weights_only=True)
        return {name: tensor.numpy().tobytes() for name, tensor in state.items()}

    short = {
        "backbone": {"name": "tiny", "finetune": training(2, samples_per_clip=2)},
        "training": training(1),
    }
    worker = service.start_worker()
    decoded = service.submit(spec(**short))
    service.finish(decoded)
    expected = weights(decoded)
    frames = service.settings.data / "frames"
    assert not frames.exists()

    worker.stop()
    service.forget()
    monkeypatch.setenv("TWOSTREAM_FRAME_CACHE_GIGABYTES", "1")
    service.start_worker()
    mapped = service.submit(spec(**short))
    service.finish(mapped)
    assert weights(mapped) == expected
    kept = [entry for entry in collector(service).take_stock().entries if entry.category == "frames"]
    assert len(kept) == len(list(frames.glob("*/*.npy"))) > 10
    assert collector(service).collect(0, ("frames",)).after == 0
    assert not list(frames.glob("*/*.npy"))
