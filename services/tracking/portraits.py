"""What a run in MLflow shows of its experiment or stage from the start: its name, parameters and tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.db.tables import ExperimentRow, PaperRow, StageRow
from services.journal.outbox import paper_tags, protocol_tag

MAX_TAG = 5000
"""Characters; MLflow takes more since version 2.10 alone."""
INHERITED = ("dataset", "protocol", "flags", "paper", "table", "row")
"""Tags that the run of a stage has of the experiment's above it."""


@dataclass(frozen=True)
class Portrait:
    """What a run shows of its subject from the start."""

    name: str
    params: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """How a stream of an experiment is measured: kind of network, and the line of the protocol."""

    stream: str
    model: str
    protocol: str


def of_experiment(row: ExperimentRow, streams: Sequence[Measured] = (), places: Iterable[PaperRow] = ()) -> Portrait:
    """Return what the parent run of an experiment shows.

    Args:
        row: the experiment.
        streams: how each is measured.
        places: the rows of papers' tables behind which it stands.
    """
    spec = row.spec
    tags = {
        "owner": row.owner,
        "recipe": row.recipe or "",
        "flags": ", ".join(sorted({flag["code"] for flag in row.flags})),
        "kind": "ensemble" if "members" in spec else "experiment",
        "dataset": row.dataset,
        "model": ", ".join(dict.fromkeys(each.model for each in streams)),
        "split": ", ".join(map(str, spec.get("splits", ()))),
        "stream": ", ".join(each.stream for each in streams),
        "seed": ", ".join(map(str, spec.get("seeds", ()))),
        "protocol": protocol_tag({each.stream: each.protocol for each in streams}),
        **paper_tags(places),
    }
    if row.sweep_id is not None:
        tags |= {"sweep": row.sweep_id, "trial": "best" if row.trial is None else str(row.trial)}
    return Portrait(row.name, flatten(spec), {name: value[:MAX_TAG] for name, value in tags.items()})


def of_stage(row: StageRow, above: Portrait | None = None) -> Portrait:
    """Return what the run of a stage shows; it has some tags of the run above it."""
    params = row.params
    model = params.get("model")
    tags = {
        "kind": row.kind,
        "split": str(params.get("split") or ""),
        "stream": "+".join(params.get("streams") or [params.get("stream") or ""]),
        "seed": "" if params.get("seed") is None else str(params["seed"]),
        "model": str(model.get("kind", "")) if isinstance(model, Mapping) else "",
    }
    if above is not None:
        tags |= {name: above.tags[name] for name in INHERITED}
        tags["model"] = tags["model"] or above.tags["model"]
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
