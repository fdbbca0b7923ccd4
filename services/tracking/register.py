"""Registers a finished system in MLflow as a version of the model of its dataset and stream.

MLflow's client takes seconds to load, so that a process of its own (``registrar``) speaks with MLflow, once for each
call. It is told of one job by JSON on its standard input, and answers likewise.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from services.api_keys import Caller
from services.bundles import mlflow_model
from services.bundles.contents import Result
from services.bundles.export import bundle
from services.bundles.graph import System
from services.db.engine import Database
from services.db.locks import held
from services.errors import Conflict, Contended, Unavailable
from services.metrics import PRIMARY
from services.queue import experiments
from services.settings import Settings
from services.stores.artifacts import open_store
from services.tracking.addresses import version_page

REGISTRAR = "services.tracking.registrar"
LIMIT_SECONDS = 540.0
"""For one version: what a client of ours waits for, less the time for the bundle."""
ADVISORY_LOCK = 7_205_759_403_792_797
"""Held by the process that registers: two at once would make two versions of one system."""
AWAY = "away"


@dataclass(frozen=True)
class Job:
    """What the registrar is to do.

    Attributes:
        url: of MLflow.
        run_id: of the experiment.
        folder_id: the MLflow experiment in which that run lies.
        model: name of the registered model.
        alias: that the best version has.
        path: folder of the model.
        tags: of the version; ``twostream.id`` is what it is known by, ``twostream.protocol`` how it was measured.
        value: by which versions of one protocol are compared; None where there is none.
    """

    url: str
    run_id: str
    folder_id: str
    model: str
    alias: str
    path: str
    tags: Mapping[str, str]
    value: float | None


Asking = Callable[[Job], dict[str, Any]]


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name: of the registered model, that of the dataset and stream.
        version: its number there.
        created: whether this call made it.
        alias: that the best version of a split has, ``best-split1`` and so on.
        best: whether this one has it.
        reason: why not, if not.
        page: where MLflow shows it.
    """

    name: str
    version: int
    created: bool
    experiment: str
    split: int
    seed: int
    stream: str
    value: float | None
    protocol: str
    alias: str
    best: bool
    reason: str | None
    page: str


def register(
    settings: Settings,
    database: Database,
    caller: Caller,
    experiment_id: str,
    *,
    split: int | None = None,
    seed: int | None = None,
    ask: Asking | None = None,
) -> Registered:
    """Register the system of one split and seed of an experiment; again it is the same version.

    Args:
        settings: say where MLflow is, and the store.
        database: says what there is.
        caller: whose experiment it must be.
        experiment_id: that has succeeded.
        split: the first one of the experiment when None.
        seed: likewise.
        ask: has a job done, and returns the answer; a process of its own does it when None.

    Raises:
        NotFound: nothing has this id.
        Forbidden: it belongs to another user.
        InvalidRequest: the experiment has no such split or seed.
        Conflict: it has not succeeded, it was withdrawn, its run was deleted in MLflow, or there is no bundle of it.
        Unavailable: MLflow or the store does not answer, or MLflow has not heard of the experiment yet.
    """
    with database.transaction() as session:
        run_id, folder_id = _run_of(session, settings, caller, experiment_id)
    settings.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="register-", dir=settings.work) as folder:
        file = Path(folder, mlflow_model.BUNDLE_FILE)
        with file.open("w+b") as content:
            system = bundle(content, database, open_store(settings), experiment_id, split=split, seed=seed)
        mlflow_model.write(Path(folder, "model"), file)
        file.unlink()
        job = _job(settings, system, run_id, folder_id, Path(folder, "model"))
        with held(database, ADVISORY_LOCK, LIMIT_SECONDS + 60) as hold:
            if not hold:
                raise Contended("another system is just being registered")
            answer = (ask or in_a_process)(job)
        if "error" in answer:
            raise (Unavailable if answer["error"] == AWAY else Conflict)(answer["message"])
    reached = _reached(system)
    return Registered(
        name=job.model,
        version=int(answer["version"]),
        created=answer["created"],
        experiment=system.experiment,
        split=system.split,
        seed=system.seed,
        stream=reached.stream,
        value=job.value,
        protocol=reached.protocol,
        alias=job.alias,
        best=answer["best"],
        reason=answer["reason"],
        page=version_page(job.url, job.model, answer["version"]),
    )


def _run_of(session: Session, settings: Settings, caller: Caller, experiment_id: str) -> tuple[str, str]:
    """Return the run of an experiment that may be registered, and where it lies."""
    row = experiments.get(session, experiment_id)
    caller.require_owned(f"experiment {row.id}", row.owner)
    if row.state != "succeeded":
        hint = "; hint: wait for it" if row.state in ("queued", "running") else ""
        raise Conflict(f"experiment {row.id} cannot be registered: it is {row.state}, allowed: succeeded{hint}")
    if row.withdrawn_at is not None:
        raise Conflict(f"experiment {row.id} cannot be registered: it was withdrawn: {row.withdrawn_reason}")
    if settings.mlflow_url is None:
        raise Unavailable("TWOSTREAM_MLFLOW_URL: not set, so that there is no MLflow to register it in")
    if row.mlflow_run_id is None or row.mlflow_folder_id is None:
        raise Unavailable(f"MLflow at {settings.mlflow_url} has not heard of experiment {row.id} yet")
    return row.mlflow_run_id, row.mlflow_folder_id


def _job(settings: Settings, system: System, run_id: str, folder_id: str, path: Path) -> Job:
    reached = _reached(system)
    value = reached.metrics.get(PRIMARY)
    tags = {
        "id": f"{system.experiment}/split{system.split}/seed{system.seed}",
        "experiment": system.experiment,
        "dataset": system.dataset,
        "stream": reached.stream,
        "split": str(system.split),
        "seed": str(system.seed),
        "recipe": system.recipe or "",
        "protocol": reached.protocol,
        **{name: repr(number) for name, number in reached.metrics.items() if number is not None},
    }
    return Job(
        url=str(settings.mlflow_url),
        run_id=run_id,
        folder_id=folder_id,
        model=f"twostream-{system.dataset}-{reached.stream}",
        alias=f"best-split{system.split}",
        path=str(path),
        tags={f"twostream.{name}": tag for name, tag in tags.items()},
        value=value,
    )


def _reached(system: System) -> Result:
    """Return what the whole system reached, which stands last: both streams, or the only one."""
    if not system.report:
        raise Conflict(f"experiment {system.experiment} has no results of split {system.split}, seed {system.seed}")
    return next((each for each in system.report if each.stream == "two-stream"), system.report[-1])


def in_a_process(job: Job) -> dict[str, Any]:
    """Have the registrar do a job, and return its answer.

    Raises:
        Unavailable: it takes too long.
    """
    argv = [sys.executable, "-m", REGISTRAR]
    try:
        ended = subprocess.run(
            argv, input=json.dumps(asdict(job)), capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"MLflow at {job.url}: no version within {LIMIT_SECONDS:.0f} s") from error
    lines = ended.stdout.strip().splitlines()
    assert lines, f"the registrar ended with {ended.returncode}: {ended.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
