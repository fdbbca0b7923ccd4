"""What a run in MLflow shows of its experiment or stage from the start: its name, parameters and tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.db.tables import ExperimentRow, StageRow


@dataclass(frozen=True)
class Portrait:
    """What a run shows of its subject from the start."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]


def of_experiment(row: ExperimentRow) -> Portrait:
    """Return what the parent run of an experiment shows."""
    flags = ", ".join(sorted({flag["code"] for flag in row.flags}))
    return Portrait(row.name, flatten(row.spec), {"owner": row.owner, "recipe": row.recipe or "", "flags": flags})


def of_stage(row: StageRow) -> Portrait:
    """Return what the run of a stage shows."""
    params = row.params
    tags = {
        "kind": row.kind,
        "split": str(params.get("split") or ""),
        "stream": "+".join(params.get("streams") or [params.get("stream") or ""]),
        "seed": "" if params.get("seed") is None else str(params["seed"]),
    }
    return Portrait(row.label, flatten(params), tags)


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as flat ``a.b.c`` names with text values, the same names for every model."""
    flat: dict[str, str] = {}
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            flat |= flatten(entry, f"{prefix}{name}.")
        else:
            text = ",".join(map(str, entry)) if isinstance(entry, list | tuple) else str(entry)
            flat[f"{prefix}{name}"] = text[:6000]
    return flat
