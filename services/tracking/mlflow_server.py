"""The door to one MLflow server: its experiments, one a dataset, their runs, and whether it works as a whole."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import requests
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from urllib3.connection import HTTPConnection

from services.errors import Unavailable
from services.tracking.addresses import FOLDER_TAGS

EXPERIMENT_NAME = "twostream"
"""Of the MLflow experiment in which all runs lay before each dataset had its own; the beginning of those names."""
OURS_TAG = "twostream.holds"
"""Marks an experiment of ours, whatever its name, by the dataset whose runs it holds."""
OF_ALL = "runs"
"""What it says of the one in which all runs lay."""
ID_TAG = "twostream.id"
PROBE_ID = "probe"
PARENT_TAG = "mlflow.parentRunId"
PARAMS_IN_A_BATCH = 100
TIMEOUT, SILENT = "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
REQUEST_SECONDS, BYTES_PER_SECOND = 30, 1e6
"""Time for the answer to a request, and how fast a file has to come in at the least."""
SERVER_ERROR = 500
ABSENT = "RESOURCE_DOES_NOT_EXIST"
DELETED = "deleted"
ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})


class TrackerAway(Unavailable):
    """MLflow takes nothing at all, for whatever reason; the message names its address and the reason."""


@dataclass(frozen=True)
class Folder:
    """An MLflow experiment of ours.

    Attributes:
        id: its id.
        fate: ``kept``, ``restored`` after it had been deleted, or ``new``: its runs of before are not in it.
    """

    id: str
    fate: Literal["kept", "restored", "new"]


@dataclass(frozen=True)
class NewRun:
    """A run that is to be made.

    Attributes:
        id: of ours: an experiment's, or a stage's below it.
        name: what the page shows.
        tags: what it shows from the start.
        parent: run of which it is a child.
        started_at: in milliseconds since 1970.
    """

    id: str
    name: str
    tags: Mapping[str, str]
    parent: str | None
    started_at: int


class MlflowServer:
    """One tracking server.

    Args:
        url: its address.
    """

    def __init__(self, url: str) -> None:
        self.address = url
        self._client = MlflowClient(tracking_uri=url)

    def folder(self, dataset: str, known: str | None) -> Folder:
        """Return the experiment of a dataset's runs; a deleted one is restored, a missing one is made.

        Args:
            dataset: its name; that of all runs of before goes by the empty name.
            known: its id as of the last time.

        Raises:
            TrackerAway: MLflow takes nothing, or what answers is no MLflow.
        """
        name, tags = folder_name(dataset), {OURS_TAG: dataset or OF_ALL, **FOLDER_TAGS}
        with self._asked():
            found = (known and self._by_id(known, name, tags[OURS_TAG])) or self._by_name(name)
            if found is None:
                folder_id = self._client.create_experiment(name, tags=tags)
                if not folder_id:
                    raise NotMlflow
                return Folder(folder_id, "new")
            restored = found.lifecycle_stage == DELETED
            if restored:
                self._client.restore_experiment(found.experiment_id)
            for tag, value in tags.items():
                if tag not in found.tags:  # whoever changes it in MLflow's page has it so
                    self._client.set_experiment_tag(found.experiment_id, tag, value)
            if known not in {None, found.experiment_id}:
                return Folder(found.experiment_id, "new")
            return Folder(found.experiment_id, "restored" if restored else "kept")

    def probe(self, folder_id: str, *, artifact: bool) -> None:
        """Do with a run of our own what rows ask for: what fails here is no row's fault. The run is deleted again.

        Args:
            folder_id: an experiment of ours.
            artifact: whether a file is sent too.

        Raises:
            TrackerAway: MLflow takes nothing of the kind.
        """
        with self._asked():
            run_id = self._create(folder_id, "probe", {ID_TAG: PROBE_ID})
            point = Metric("probe", 1.0, int(time.time() * 1000), 0)
            self._client.log_batch(run_id, [point], [Param("probe", "1")], [RunTag("probe", "1")])
            self._client.update_run(run_id, status="FINISHED")
            if artifact:
                self._client.log_text(run_id, "probe", "probe.txt")
            for run in self._search(folder_id, PROBE_ID, ViewType.ACTIVE_ONLY):  # an interrupted one as well
                self._client.delete_run(run.info.run_id)

    def takes_file(self, folder_id: str, num_bytes: int) -> bool:
        """Say whether it takes a file of so many bytes, which a full disk does not."""
        try:
            run_id = self._create(folder_id, "probe", {ID_TAG: PROBE_ID})
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "probe.bin")
                with file.open("wb") as content:
                    content.truncate(num_bytes)
                self.add_file(run_id, file)
        except (MlflowException, OSError):
            return False
        finally:
            with contextlib.suppress(MlflowException, OSError):
                for run in self._search(folder_id, PROBE_ID, ViewType.ACTIVE_ONLY):
                    self._client.delete_run(run.info.run_id)
        return True

    def find_run(self, folder_id: str, id_: str, parent: str | None) -> str | None:
        """Return the run that has an id of ours, restored if it was deleted, or None where an earlier try made none.

        Args:
            folder_id: the experiment in which it lies.
            id_: an experiment's id, or a stage's below it.
            parent: run of which it is a child.
        """
        found = self._alike(folder_id, id_)
        if not found:
            return None
        run, *others = found
        if run.info.lifecycle_stage == DELETED:
            self._client.restore_run(run.info.run_id)
        for other in others:  # made by a request whose answer came too late
            self._client.delete_run(other.info.run_id)
        if parent is not None and run.data.tags.get(PARENT_TAG) != parent:
            self._client.set_tag(run.info.run_id, PARENT_TAG, parent)
        return str(run.info.run_id)

    def create_run(self, folder_id: str, new: NewRun) -> str:
        """Make a run and return its id; a request whose answer is lost may have made it all the same."""
        above = {} if new.parent is None else {PARENT_TAG: new.parent}
        return self._create(folder_id, new.name, {ID_TAG: new.id, **new.tags, **above}, new.started_at)

    def drop_twins(self, folder_id: str, id_: str, run_id: str) -> None:
        """Delete other runs with an id of ours, made by requests whose answers came too late."""
        for run in self._alike(folder_id, id_):
            if run.info.run_id != run_id and run.info.lifecycle_stage != DELETED:
                self._client.delete_run(run.info.run_id)

    def _alike(self, folder_id: str, id_: str) -> list[Run]:
        """Return the runs that have an id of ours, those that live first, always in the same order."""
        found = self._search(folder_id, id_, ViewType.ALL)
        return sorted(
            found, key=lambda run: (run.info.lifecycle_stage == DELETED, run.info.start_time, run.info.run_id)
        )

    def revive(self, run_id: str) -> Literal["kept", "restored", "missing"]:
        """Restore a deleted run, and say what became of it.

        Raises:
            TrackerAway: MLflow does not answer.
        """
        with self._asked():
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != ABSENT:
                    raise
                return "missing"
            if run.info.lifecycle_stage != DELETED:
                return "kept"
            self._client.restore_run(run_id)
            return "restored"

    def delete_runs(self, folder_id: str, id_: str) -> None:
        """Delete every run that has an id of ours; where there is none, nothing is to be done."""
        for run in self._search(folder_id, id_, ViewType.ACTIVE_ONLY):
            self._client.delete_run(run.info.run_id)

    def add_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Set the parameters of a run."""
        entries = [Param(key, value) for key, value in params.items()]
        for start in range(0, len(entries), PARAMS_IN_A_BATCH):
            self._client.log_batch(run_id, params=entries[start : start + PARAMS_IN_A_BATCH])

    def add_points(self, run_id: str, points: Sequence[Metric]) -> None:
        """Add points to the curves of a run; one that is there already is kept once."""
        self._client.log_batch(run_id, metrics=points)

    def set_status(self, run_id: str, tags: Mapping[str, str], status: str | None, at: int) -> None:
        """Set tags of a run, and whether it runs or how it ended.

        Args:
            run_id: whose.
            tags: by name.
            status: of MLflow; None leaves it.
            at: when that was, in milliseconds since 1970. A run that goes on again keeps its last end until the next.
        """
        for name, value in tags.items():
            self._client.set_tag(run_id, name, value)
        if status in ENDED:
            self._client.set_terminated(run_id, status, at)
        elif status is not None:
            self._client.update_run(run_id, status=status)

    def add_file(self, run_id: str, file: Path) -> None:
        """Send a file to a run; it has the more time, the larger it is."""
        before = os.environ.get(TIMEOUT)
        os.environ[TIMEOUT] = str(int(float(before or REQUEST_SECONDS) + file.stat().st_size / BYTES_PER_SECOND))
        try:
            self._client.log_artifact(run_id, str(file))
        finally:
            if before is None:
                del os.environ[TIMEOUT]
            else:
                os.environ[TIMEOUT] = before

    def _create(self, folder_id: str, name: str, tags: Mapping[str, str], started_at: int | None = None) -> str:
        made = self._client.create_run(folder_id, start_time=started_at, run_name=name, tags=dict(tags))
        if not made.info.run_id:
            raise NotMlflow
        return str(made.info.run_id)

    def _search(self, folder_id: str, id_: str, view: int) -> Sequence[Run]:
        return self._client.search_runs([folder_id], f"tags.`{ID_TAG}` = '{id_}'", run_view_type=view, max_results=10)

    def _by_id(self, folder_id: str, name: str, holds: str) -> Experiment | None:
        """Return the experiment that is known, unless this id is another's here."""
        try:
            found = self._client.get_experiment(folder_id)
        except MlflowException as error:
            if error.error_code != ABSENT:
                raise
            return None
        if found.experiment_id != folder_id:
            raise NotMlflow
        return found if found.tags.get(OURS_TAG) == holds or found.name == name else None

    def _by_name(self, name: str) -> Experiment | None:
        found = self._client.get_experiment_by_name(name)
        if found is not None and (found.name != name or not found.experiment_id):
            raise NotMlflow
        return found

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Take whatever goes wrong for MLflow's fault: nothing here depends on a row."""
        try:
            yield
        except Exception as error:
            raise TrackerAway(f"MLflow at {self.address}: {first_line(error)}") from error


def folder_name(dataset: str) -> str:
    """Return the name of the MLflow experiment of a dataset's runs, which a user may change there."""
    return f"{EXPERIMENT_NAME} {dataset}" if dataset else EXPERIMENT_NAME


class NotMlflow(Exception):
    """What answers is no MLflow."""

    def __init__(self) -> None:
        super().__init__("what answers there is no MLflow")


def set_up_client() -> None:
    """Have MLflow's client ask once, wait for a bounded time, and leave no connection behind at a server that hangs.

    Whoever asks tries again: of a request that the client itself repeats, nobody knows how often it was heard. A
    connection is reset when it is closed, by when its answer has come or is not waited for any longer; closed in
    order, it would stay half closed at the server until that gets to it.
    """
    given = {TIMEOUT: str(REQUEST_SECONDS), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", SILENT: "true"}
    for name, value in given.items():
        os.environ.setdefault(name, value)
    reset = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    HTTPConnection.default_socket_options = [*HTTPConnection.default_socket_options, reset]


def status(error: Exception) -> int:
    """Return the HTTP status behind an error; one of the server's where there is none."""
    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())  # type: ignore[no-untyped-call]  # MLflow leaves it untyped
    response = getattr(error, "response", None)
    if isinstance(error, requests.RequestException) and response is not None:
        return int(response.status_code)
    return SERVER_ERROR


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
