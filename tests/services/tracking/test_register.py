"""A finished system as a version of a registered model: once, loadable, the best by its own protocol, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.models import get_model_info
from sqlalchemy import update

from api.app import connect, create_app, disconnect
from services import registry
from services.api_keys import LOCAL, Caller
from services.bundles import mlflow_model
from services.bundles.files import BundleFile
from services.datasets.motion_shapes import CLASSES
from services.db.engine import Database
from services.db.tables import ExperimentRow
from services.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unavailable
from services.queue import edits
from services.settings import Settings
from services.tracking.register import Registered
from services.tracking.register import register as in_a_process
from services.tracking.registrar import answer
from services.tracking.sender import Tracker
from tests.api.clients import ADDRESS
from tests.api.conftest import Worker
from tests.api.finished import Publisher
from tests.services.conftest import small_spec, submit
from tests.services.tracking.conftest import Server
from tests.services.tracking.relay import Request, relay

# The server loads for long where others compute: it lets them go first.
pytestmark = [pytest.mark.xdist_group("mlflow"), pytest.mark.timeout(600)]
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings(server: Server, database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, redis_url=redis_url, mlflow_url=server.url, home=tmp_path / "home")


def register(*given: Any, **chosen: Any) -> Registered:
    """Register in this process, which has loaded MLflow's client already."""
    return in_a_process(*given, **chosen, ask=answer)


@pytest.fixture
def finish(database: Database, tracker: Tracker, settings: Settings) -> Callable[..., str]:
    """Run an experiment whose model lies in the store, and have MLflow hear of it; return its id."""

    def run(top1: float = 0.5, told: bool = True, **changes: object) -> str:
        row = submit(database, small_spec(**changes)).row
        Publisher(Worker(database, top1), Path(settings.artifacts)).finish_all()
        if told:
            tracker.drain()
        return row.id

    return run


@pytest.fixture
def model(server: Server, client: MlflowClient) -> Iterator[str]:
    """Name of the registered model of the generated dataset's rgb stream, which nobody has made."""
    name = "twostream-motion_shapes-rgb"
    yield name
    for version in client.search_model_versions(f"name = '{name}'"):
        client.delete_model_version(name, version.version)
    for found in client.search_registered_models(f"name = '{name}'"):
        client.delete_registered_model(found.name)


def test_a_system_is_registered_once_and_loads_with_its_signature(
    settings: Settings,
    database: Database,
    finish: Callable[..., str],
    client: MlflowClient,
    model: str,
    tmp_path: Path,
) -> None:
    experiment_id = finish()
    made = register(settings, database, LOCAL, experiment_id)
    assert (made.name, made.version, made.created, made.best, made.alias) == (model, 1, True, True, "best-split1")
    assert (made.experiment, made.split, made.seed, made.stream, made.value) == (experiment_id, 1, 0, "rgb", 0.5)
    again = register(settings, database, LOCAL, experiment_id, split=1, seed=0)
    assert (again.version, again.created, again.best) == (1, False, True)
    [version] = client.search_model_versions(f"name = '{model}'")
    assert version.tags["twostream.experiment"] == experiment_id
    assert version.tags["twostream.protocol"] == made.protocol
    mlflow.set_tracking_uri(settings.mlflow_url)
    try:
        info = get_model_info(f"models:/{model}@best-split1")
        loaded = Path(mlflow.artifacts.download_artifacts(f"models:/{model}/1", dst_path=str(tmp_path / "loaded")))
    finally:
        mlflow.set_tracking_uri(None)
    assert [column.name for column in info.signature.inputs] == ["clip"]
    assert [column.name for column in info.signature.outputs] == [*CLASSES]
    assert info.flavors["python_function"]["loader_module"] == mlflow_model.LOADER
    with BundleFile(loaded / mlflow_model.BUNDLE_FILE) as bundle:
        assert (bundle.contents.experiment, bundle.contents.classes) == (experiment_id, CLASSES)
    run = client.get_run(version.run_id)
    [output] = run.outputs.model_outputs
    assert output.model_id in version.source
    assert client.get_logged_model(output.model_id).status == "READY"
    assert list((settings.work).iterdir()) == []


@pytest.mark.long  # one is registered above
def test_the_best_is_the_best_of_those_that_were_measured_alike(
    settings: Settings, database: Database, finish: Callable[..., str], client: MlflowClient, model: str
) -> None:
    first, worse, better = (finish(top1, seeds=(seed,)) for seed, top1 in enumerate((0.5, 0.25, 0.75)))
    assert register(settings, database, LOCAL, first).best
    beaten = register(settings, database, LOCAL, worse)
    assert (beaten.version, beaten.best) == (2, False)
    assert beaten.reason == "version 1 has top-1 0.5000, this one 0.2500"
    assert register(settings, database, LOCAL, better).best
    assert client.get_model_version_by_alias(model, "best-split1").version in (3, "3")
    assert not register(settings, database, LOCAL, first).best
    other = finish(1.0, seeds=(9,), evaluation={"frames": 3})
    apart = register(settings, database, LOCAL, other)
    assert not apart.best
    assert "was measured by another protocol" in str(apart.reason)


@pytest.mark.long  # one is registered above
def test_what_cannot_be_registered_says_why_and_leaves_nothing(
    settings: Settings, database: Database, finish: Callable[..., str], client: MlflowClient, model: str
) -> None:
    unfinished = submit(database, small_spec(name="later", seeds=(5,))).row.id
    with pytest.raises(Conflict, match=r"it is queued, allowed: succeeded; hint: wait for it"):
        register(settings, database, LOCAL, unfinished)
    with pytest.raises(NotFound):
        register(settings, database, LOCAL, "exp_0")
    untold = finish(told=False)
    with pytest.raises(Unavailable, match=f"has not heard of experiment {untold} yet"):
        register(settings, database, LOCAL, untold)
    told = finish(seeds=(1,))
    with pytest.raises(InvalidRequest, match=r"split: got 2, allowed: 1"):
        register(settings, database, LOCAL, told, split=2)
    with pytest.raises(Forbidden):
        register(settings, database, Caller("eve"), told)
    without = settings.model_copy(update={"mlflow_url": None})
    with pytest.raises(Unavailable, match="TWOSTREAM_MLFLOW_URL: not set"):
        register(without, database, LOCAL, told)
    away = settings.model_copy(update={"mlflow_url": NOWHERE})
    with pytest.raises(Unavailable, match=f"MLflow at {NOWHERE}"):
        register(away, database, LOCAL, told)
    with database.transaction() as session:
        run_id = session.get_one(ExperimentRow, told).mlflow_run_id
    client.delete_run(run_id)
    with pytest.raises(Conflict, match="was deleted in MLflow; hint: restore it there"):
        register(settings, database, LOCAL, told)
    with database.transaction() as session:
        edits.withdraw(session, told, "wrong lists", LOCAL)
    with pytest.raises(Conflict, match=f"experiment {told} cannot be registered: it was withdrawn: wrong lists"):
        register(settings, database, LOCAL, told)
    assert client.search_registered_models(f"name = '{model}'") == []


@pytest.mark.long  # `test_faults.py` has servers that go away
def test_a_tracker_that_goes_away_in_the_middle_leaves_nothing_half_written(
    settings: Settings, database: Database, finish: Callable[..., str], client: MlflowClient, server: Server, model: str
) -> None:
    experiment_id = finish()
    with database.transaction() as session:
        folder_id = session.get_one(ExperimentRow, experiment_id).mlflow_folder_id

    def makes_a_version(request: Request) -> bool:
        return request.path.endswith("/model-versions/create")

    with relay(server.port, makes_a_version, heard=False) as door:
        through = settings.model_copy(update={"mlflow_url": door.url})
        with pytest.raises(Unavailable, match=f"MLflow at {door.url}"):
            register(through, database, LOCAL, experiment_id)
        assert client.search_model_versions(f"name = '{model}'") == []
        made = register(through, database, LOCAL, experiment_id)
    assert (made.version, made.created) == (1, True)
    mine = f"tags.`twostream.id` = '{experiment_id}/split1/seed0'"
    assert [each.status for each in client.search_logged_models([folder_id], mine)] == ["READY"]


def test_a_request_registers(settings: Settings, database: Database, finish: Callable[..., str], model: str) -> None:
    experiment_id = finish()
    with database.transaction() as session:
        registry.add_generated(session)
        session.execute(update(ExperimentRow).values(owner="local"))
    app = create_app(settings)
    app.state.backend = connect(settings)
    try:
        client = TestClient(app, base_url=ADDRESS, raise_server_exceptions=False)  # nothing runs in the background
        made = client.post(f"/experiments/{experiment_id}/register", params={"split": 1})
        assert made.status_code == 201, made.text
        assert (made.json()["name"], made.json()["version"], made.json()["best"]) == (model, 1, True)
        again = client.post(f"/experiments/{experiment_id}/register")
        assert (again.status_code, again.json()["created"]) == (200, False)
        wrong = client.post(f"/experiments/{experiment_id}/register", params={"seed": 4})
        assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "seed")
    finally:
        disconnect(app.state.backend)
