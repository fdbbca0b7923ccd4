"""MLflow's own application, with its tables brought up to date before the first request.

Runs in the process that ``mlflow.py`` starts. This is what `mlflow server` does before it spawns uvicorn.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import cast

from fastapi import FastAPI
from mlflow.server.constants import (
    ARTIFACT_ROOT_ENV_VAR,
    ARTIFACTS_DESTINATION_ENV_VAR,
    BACKEND_STORE_URI_ENV_VAR,
    SERVE_ARTIFACTS_ENV_VAR,
)
from mlflow.server.handlers import initialize_backend_stores

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # MLflow serves its Flask half through starlette's old bridge
    from mlflow.server.fastapi_app import app as application

ARTIFACT_ROOT = "mlflow-artifacts:/"


def create_app() -> FastAPI:
    """Return MLflow's application for the store and the artifact folder that the environment names."""
    _step_back()
    store = os.environ["MLFLOW_BACKEND_STORE_URI"]
    os.environ[BACKEND_STORE_URI_ENV_VAR] = store
    os.environ[ARTIFACT_ROOT_ENV_VAR] = ARTIFACT_ROOT
    os.environ[ARTIFACTS_DESTINATION_ENV_VAR] = os.environ["MLFLOW_ARTIFACTS_DESTINATION"]
    os.environ[SERVE_ARTIFACTS_ENV_VAR] = "true"
    initialize_backend_stores(store, None, ARTIFACT_ROOT)
    return cast("FastAPI", application)


def _step_back() -> None:
    """Have the processor as a batch job has it: our fair share of it, but nobody is interrupted when we wake up.

    No niceness: of the process it counts within its session alone, where Linux shares out the processor by session
    first; of the session it starves us on a busy machine (docs/decisions/0011-busy-machine.md).
    """
    if sys.platform == "linux":
        for thread in Path("/proc/self/task").iterdir():  # later ones take after us
            with contextlib.suppress(OSError):  # it has ended, or a sandbox forbids it
                os.sched_setscheduler(int(thread.name), os.SCHED_BATCH, os.sched_param(0))
