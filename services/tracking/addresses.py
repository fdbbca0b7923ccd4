"""Where MLflow shows our runs, and with which columns: addresses of its pages, without its client.

MLflow 3 opens an experiment as one of language models unless the address says otherwise. The columns of a table of runs
are in no address, but in a view that is kept as a tag of the experiment and named in the address (MLflow,
``useSharedExperimentViewState.ts`` and ``ExperimentPageUIState.tsx``).
"""

from __future__ import annotations

import json
from typing import Any

VIEW = "twostream"
KIND_TAGS = {"mlflow.experimentKind": "custom_model_development"}
COLUMNS = (
    "attributes.`Duration`",
    "metrics.`top1`",
    "metrics.`mean_class`",
    *(f"tags.`twostream.{name}`" for name in ("model", "stream", "split", "kind", "flags")),
)


def _view() -> dict[str, Any]:
    """Return the state of a page of runs; what is left out of it would be nothing, not MLflow's default."""
    names = ("columnWidths", "runsExpanded", "runsVisibilityMap", "groupsExpanded")
    state: dict[str, Any] = {name: {} for name in names}
    state |= {name: [] for name in ("columnOrder", "runsPinned", "runsHidden")}
    state |= dict.fromkeys(("viewMaximized", "runListHidden", "isAccordionReordered"), False)
    state |= dict.fromkeys(("useGroupedValuesInCharts", "hideEmptyCharts", "autoRefreshEnabled"), True)
    lines = {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}
    return {
        **state,
        "selectedColumns": [*COLUMNS],
        "runsHiddenMode": "FIRST_10_RUNS",
        "groupBy": None,
        "globalLineChartConfig": lines,
    }


FOLDER_TAGS = {**KIND_TAGS, f"mlflow.sharedViewState.{VIEW}": json.dumps(_view(), separators=(",", ":"))}
"""Tags of an MLflow experiment of ours that its pages read."""


def experiments_page(url: str) -> str:
    """Return the address of the list of MLflow's experiments."""
    return f"{url.rstrip('/')}/#/experiments?workflowType=machine_learning"


def runs_page(url: str, folder_id: str) -> str:
    """Return the address of the runs in an MLflow experiment of ours, with the columns that decide."""
    return f"{url.rstrip('/')}/#/experiments/{folder_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def run_page(url: str, folder_id: str, run_id: str) -> str:
    """Return the address of a run."""
    return f"{url.rstrip('/')}/#/experiments/{folder_id}/runs/{run_id}?workflowType=machine_learning"


def artifacts_page(url: str, folder_id: str, run_id: str) -> str:
    """Return the address of what a run left as files."""
    return f"{url.rstrip('/')}/#/experiments/{folder_id}/runs/{run_id}/artifacts?workflowType=machine_learning"


def version_page(url: str, model: str, version: int) -> str:
    """Return the address of a version of a registered model."""
    return f"{url.rstrip('/')}/#/models/{model}/versions/{version}?workflowType=machine_learning"
