"""The process that registers one system in MLflow: ``python -m services.tracking.registrar``, see ``register``.

A version is looked for by its ``twostream.id`` before it is made. What an earlier try left that did not get so far, a
logged model without a version, is deleted first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from services.proxies import spare_local
from services.tracking import mlflow_server
from services.tracking.mlflow_server import BYTES_PER_SECOND, DELETED, REQUEST_SECONDS, TIMEOUT, first_line
from services.tracking.register import AWAY, Job

PRESENT = "RESOURCE_ALREADY_EXISTS"
ID_TAG, PROTOCOL_TAG, VALUE_TAG = "twostream.id", "twostream.protocol", "twostream.top1"


class Registry:
    """The model registry of one MLflow.

    Args:
        job: what is to be registered.
        client: of that MLflow.
    """

    def __init__(self, job: Job, client: MlflowClient) -> None:
        self._job, self._client = job, client

    def register(self) -> dict[str, Any]:
        """Return ``version``, ``created``, ``best`` and the ``reason`` why it is not the best."""
        job, client = self._job, self._client
        run = client.get_run(job.run_id)
        if run.info.lifecycle_stage == DELETED:
            return {
                "error": "conflict",
                "message": f"its run {job.run_id} was deleted in MLflow; hint: restore it there",
            }
        known = self._known()
        version = known or self._made()
        reason = self._why_not_best(version)
        return {"version": int(version.version), "created": known is None, "best": reason is None, "reason": reason}

    def _known(self) -> ModelVersion | None:
        versions = self._client.search_model_versions(f"name = '{self._job.model}'", max_results=1000)
        mine = [each for each in versions if each.tags.get(ID_TAG) == self._job.tags[ID_TAG]]
        return min(mine, key=lambda each: int(each.version), default=None)

    def _made(self) -> ModelVersion:
        job, client = self._job, self._client
        named = f"tags.`{ID_TAG}` = '{job.tags[ID_TAG]}'"
        for left in client.search_logged_models([job.folder_id], named):  # by a try that did not come to its end
            client.delete_logged_model(left.model_id)
        name = job.tags["twostream.stream"]
        model = client.create_logged_model(job.folder_id, name, job.run_id, dict(job.tags))
        try:
            client.log_model_artifacts(model.model_id, job.path)
            client.finalize_logged_model(model.model_id, "READY")
            client.log_outputs(job.run_id, [LoggedModelOutput(model.model_id, 0)])
            with allowing(PRESENT):
                client.create_registered_model(job.model, {"twostream.dataset": job.tags["twostream.dataset"]})
        except Exception:  # raised again: whatever went wrong, no half-written model is left in MLflow
            with contextlib.suppress(MlflowException, OSError):
                client.delete_logged_model(model.model_id)
            raise
        return client.create_model_version(
            job.model, model.artifact_location, job.run_id, dict(job.tags), model_id=model.model_id
        )

    def _why_not_best(self, version: ModelVersion) -> str | None:
        """Give the version the alias of the best, or say why it does not have it: versions of one protocol compare."""
        job, client = self._job, self._client
        holder = client.get_registered_model(job.model).aliases.get(job.alias)
        if holder is not None and int(holder) == int(version.version):
            return None
        best = None if holder is None else client.get_model_version(job.model, str(holder))
        if job.value is None:
            return "nothing was measured of it"
        if best is not None:
            if best.tags.get(PROTOCOL_TAG) != job.tags[PROTOCOL_TAG]:
                said = best.tags.get(PROTOCOL_TAG, "unknown")
                return f"version {best.version} was measured by another protocol ({said}): the two do not compare"
            there = float(best.tags.get(VALUE_TAG, "-inf"))
            if there >= job.value:
                return f"version {best.version} has top-1 {there:.4f}, this one {job.value:.4f}"
        client.set_registered_model_alias(job.model, job.alias, str(version.version))
        return None


@contextlib.contextmanager
def allowing(code: str) -> Iterator[None]:
    """Go on after an answer of MLflow with an error of this code."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != code:
            raise


def answer(job: Job) -> dict[str, Any]:
    """Do a job, and return what came of it: a version, or an ``error`` with a ``message``."""
    try:
        return Registry(job, MlflowClient(job.url, job.url)).register()
    except Exception as error:  # whatever MLflow's client makes of an answer
        return {"error": AWAY, "message": f"MLflow at {job.url}: {first_line(error)}"}


def main() -> None:
    """Do the job that stands on standard input, and print the answer."""
    job = Job(**json.load(sys.stdin))
    spare_local(job.url)
    size = sum(file.stat().st_size for file in Path(job.path).iterdir())
    os.environ.setdefault(TIMEOUT, str(int(REQUEST_SECONDS + size / BYTES_PER_SECOND)))
    mlflow_server.set_up_client()
    print(json.dumps(answer(job)))  # noqa: T201 - to the process that asked


if __name__ == "__main__":
    main()
