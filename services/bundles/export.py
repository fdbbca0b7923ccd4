"""Finds what stands between a clip and the scores of a finished system, and writes it into a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.board import results
from services.bundles.contents import FORMAT, VERSION, WEIGHT_KINDS, Bundle, Result, Weights
from services.bundles.files import write_bundle
from services.bundles.graph import AGAIN, Bundler, Node, System
from services.db.engine import Database
from services.db.tables import ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import Conflict, DataError, Denied, InvalidRequest, NotFound
from services.scores.files import read_scores
from services.stages import KINDS, UploadParams
from services.stores.artifacts import ArtifactStore

TORCH_FILE = "model.pt"
"""What a training stage leaves."""


def bundle(
    file: BinaryIO,
    database: Database,
    store: ArtifactStore,
    experiment_id: str,
    *,
    split: int | None = None,
    seed: int | None = None,
) -> System:
    """Write the bundle of one split and seed of an experiment, and return what it is of.

    Args:
        file: takes it.
        database: says which stages there are.
        store: has the weights.
        experiment_id: whose system it is.
        split: the first one of the experiment when None.
        seed: likewise.

    Raises:
        NotFound: nothing has this id.
        InvalidRequest: the experiment has no such split or seed.
        Conflict: weights or scores are not there yet, or no longer, or cannot be in a bundle.
        Unavailable: the store does not answer.
    """
    with database.transaction() as session:
        system = _system(session, experiment_id, split, seed)
    try:
        write_system(file, system, store)
    except (DataError, Denied) as error:  # what the database knows of has gone from the store, or is broken there
        raise Conflict(str(error)) from error
    return system


def write_system(file: BinaryIO, system: System, store: ArtifactStore) -> None:
    """Write the bundle of a system.

    Raises:
        Conflict: weights or scores are not there yet, or no longer, or cannot be in a bundle.
        DataError: weights or scores cannot be read.
        Unavailable: the store does not answer.
    """
    fused = system.graph[system.last]
    if fused.state != "succeeded" or fused.output is None:
        hint = AGAIN if fused.state == "evicted" else "wait for it"
        raise Conflict(f"{fused.label} is {fused.state}: there is no system yet, or no longer; hint: {hint}")
    bundler = Bundler(system.graph)
    bundler.add(system.last)
    weights = {name: store.fetch(output) / TORCH_FILE for name, output in bundler.outputs.items()}
    classes = read_scores(store.fetch(fused.output)).classes

    def contents(written: Mapping[str, Weights]) -> Bundle:
        return Bundle(
            format=FORMAT,
            version=VERSION,
            twostream=_twostream(),
            name=system.name,
            experiment=system.experiment,
            recipe=system.recipe,
            dataset=system.dataset,
            split=system.split,
            seed=system.seed,
            classes=classes,
            stages=tuple(bundler.stages.values()),
            weights=dict(written),
            report=system.report,
            spec=json.loads(json.dumps(system.spec)),
        )

    write_bundle(file, contents, weights | bundler.files)


def _twostream() -> str:
    try:
        return version("twostream")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"


def _system(session: Session, experiment_id: str, split: int | None, seed: int | None) -> System:
    row = session.get(ExperimentRow, experiment_id)
    if row is None:
        raise NotFound("experiment", experiment_id)
    split = _chosen("split", split, row.spec["splits"])
    seed = _chosen("seed", seed, row.spec["seeds"])
    query = select(StageRow).join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
    query = query.where(ExperimentStageRow.experiment_id == row.id, StageRow.kind == "fuse")
    fused = list(session.scalars(query.order_by(ExperimentStageRow.position)))
    own = [stage for stage in fused if stage.params.get("members")] or fused  # beside what its members fuse
    last = next((stage for stage in own if (stage.params["split"], stage.params["seed"]) == (split, seed)), None)
    if last is None:
        raise Conflict(f"experiment {row.id} has no system of split {split}, seed {seed}")
    return System(
        experiment=row.id,
        name=row.name,
        recipe=row.recipe,
        dataset=row.dataset,
        split=split,
        seed=seed,
        spec=row.spec,
        graph=_graph(session, last),
        last=last.key,
        report=tuple(_report(session, row.id, split, seed)),
    )


def _chosen(field: str, value: int | None, there: Sequence[int]) -> int:
    if value is not None and value not in there:
        raise InvalidRequest(field, value, ", ".join(map(str, there)))
    return int(there[0]) if value is None else value


def _graph(session: Session, last: StageRow) -> dict[str, Node]:
    """Return a stage and all that its scores need, by key; what trained the weights is left out."""
    found: dict[str, Node] = {}
    rows: list[StageRow] = [last]
    while rows:
        wanted = [row.key for row in rows if row.kind not in WEIGHT_KINDS]
        query = select(StageInputRow).where(StageInputRow.stage_key.in_(wanted)).order_by(StageInputRow.position)
        edges: dict[str, dict[str, str]] = {}
        for edge in session.scalars(query):
            edges.setdefault(edge.stage_key, {})[edge.name] = edge.input_key
        found |= {row.key: _node(row, edges.get(row.key, {})) for row in rows}
        missing = {key for inputs in edges.values() for key in inputs.values()} - found.keys()
        rows = list(session.scalars(select(StageRow).where(StageRow.key.in_(missing)))) if missing else []
    return found


def _node(row: StageRow, inputs: Mapping[str, str]) -> Node:
    kind = next(kind for kind in KINDS if kind == row.kind)
    made_by = UploadParams if "uploaded" in row.params else KINDS[kind].params
    return Node(row.key, kind, row.label, made_by.model_validate(row.params), inputs, row.state, row.output)


def _report(session: Session, experiment_id: str, split: int, seed: int) -> list[Result]:
    return [
        Result(
            stream=found.row.stream,
            protocol=found.protocol,
            metrics={name: value.value for name, value in sorted(found.values.items())},
        )
        for found in results.listing(session, experiment_id)
        if (found.row.split, found.row.seed) == (split, seed)
    ]
