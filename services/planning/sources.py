"""The stages whose weights a spec names: those of a recipe are planned, those of an experiment are looked up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from services import registry
from services.db.tables import ExperimentRow, ExperimentStageRow, StageInputRow, StageRow
from services.errors import InvalidRequest
from services.planning.plan import Plan
from services.planning.planned import Place, PlannedStage, Wanted, network_of, require_trained
from services.recipes import RECIPES
from services.specs import ExperimentSpec, StageWeights
from services.stages import KINDS, Edge, FinetuneParams, StageKind, StageSpec, TrainParams


@dataclass(frozen=True)
class Sources:
    """Finds what `StageWeights` name, for the plan of one experiment.

    A recipe may name another recipe's stages; those of an experiment exist, so that no stage can come to need itself.

    Attributes:
        session: a transaction of the caller.
        dataset: of the experiment that is planned.
    """

    session: Session
    dataset: str

    def __call__(self, field: str, weights: StageWeights, wanted: Wanted) -> tuple[PlannedStage, ...]:
        """Return a stage that trains weights, last, after all that it needs.

        Args:
            field: of the spec, for messages.
            weights: as the spec names them.
            wanted: what is taken where they leave it open.

        Raises:
            InvalidRequest: no experiment or recipe has that name, or it lacks the dataset, split, stream, part or seed.
        """
        if weights.recipe is not None:
            return self._of_recipe(field, weights, wanted)
        return self._of_experiment(field, weights, wanted)

    def _of_recipe(self, field: str, weights: StageWeights, wanted: Wanted) -> tuple[PlannedStage, ...]:
        recipe = RECIPES.get(weights.recipe or "")
        if recipe is None:
            raise InvalidRequest(f"{field}.recipe", weights.recipe, ", ".join(RECIPES))
        seed = recipe.spec.seeds[0] if weights.seed is None else weights.seed
        changes = {"splits": (weights.split or wanted.place.split,), "seeds": (seed,)}
        spec = recipe.spec.model_copy(update=changes | ({"dataset": weights.dataset} if weights.dataset else {}))
        try:
            index = registry.index_params_for(self.session, spec)
        except InvalidRequest as error:
            part = "dataset" if error.field == "dataset" else "split"
            raise InvalidRequest(f"{field}.{part}", error.value, error.allowed) from error
        streams, part = wanted.streams_of(weights), weights.part or wanted.part
        network = network_of(field, spec, streams)
        require_trained(field, network, part, streams[0], weights.recipe or "")
        plan = Plan(spec, index, sources=self)
        stages = plan.build_part(network, part, streams[0], Place(spec.splits[0], seed))
        return tuple(self._labelled(stage, spec.dataset) for stage in stages)

    def _labelled(self, stage: PlannedStage, dataset: str) -> PlannedStage:
        """Name the dataset of what is trained on another one than the experiment's."""
        if dataset == self.dataset or stage.spec.kind == "index" or stage.label.endswith(f", on {dataset}"):
            return stage
        return replace(stage, label=f"{stage.label}, on {dataset}")

    def _of_experiment(self, field: str, weights: StageWeights, wanted: Wanted) -> tuple[PlannedStage, ...]:
        row = self.session.get(ExperimentRow, weights.experiment)
        if row is None or "members" in row.spec:
            raise InvalidRequest(f"{field}.experiment", weights.experiment, "the id of an experiment")
        query = (
            select(StageRow)
            .join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
            .where(ExperimentStageRow.experiment_id == row.id)
            .order_by(ExperimentStageRow.position)
        )
        rows = {stage.key: stage for stage in self.session.scalars(query)}
        edges: dict[str, list[Edge]] = {key: [] for key in rows}
        inputs = select(StageInputRow).where(StageInputRow.stage_key.in_(rows)).order_by(StageInputRow.position)
        for entry in self.session.scalars(inputs):
            edges[entry.stage_key].append(Edge(name=entry.name, key=entry.input_key))
        indexes = {
            key for key, stage in rows.items() if stage.kind == "index" and stage.params["dataset"] == row.dataset
        }
        own = [stage for key, stage in rows.items() if indexes & {edge.key for edge in edges[key]}]
        found = _trained(field, own, weights, wanted, ExperimentSpec.model_validate(row.spec))
        return tuple(_planned(rows[key], edges[key]) for key in _needed(found.key, edges))


def _trained(
    field: str, rows: Iterable[StageRow], weights: StageWeights, wanted: Wanted, spec: ExperimentSpec
) -> StageRow:
    """Return the stage of an experiment that trained weights.

    Args:
        field: of the spec, for messages.
        rows: the stages that the experiment has on its own dataset, in the order of its plan.
        weights: as the spec names them.
        wanted: what is taken where they leave it open.
        spec: of the experiment.
    """
    part, streams = weights.part or wanted.part, wanted.streams_of(weights)
    split, seed = weights.split or wanted.place.split, spec.seeds[0] if weights.seed is None else weights.seed
    _require(f"{field}.split", split, spec.splits)
    _require(f"{field}.seed", seed, spec.seeds)
    network = network_of(field, spec, streams)
    found = None
    for row in rows:
        params = KINDS[_kind(row)].params.model_validate(row.params)
        if isinstance(params, FinetuneParams if part == "backbone" else TrainParams):
            seen = (params.stream,) if isinstance(params, FinetuneParams) else params.streams
            own = streams[:1] if part == "backbone" else network.streams
            if (params.split, params.seed, seen) == (split, seed, own):
                found = row  # the last one: what a stage starts from comes before it
    if found is None:
        other = "model" if part == "backbone" else "backbone"
        raise InvalidRequest(f"{field}.part", part, f"{other}, since experiment {weights.experiment} trains no {part}")
    return found


def _require(field: str, value: int, allowed: Sequence[int]) -> None:
    if value not in allowed:
        raise InvalidRequest(field, value, ", ".join(map(str, allowed)))


def _needed(key: str, edges: Mapping[str, Sequence[Edge]]) -> tuple[str, ...]:
    """Return the keys of a stage and of all that it needs, each after its inputs."""
    ordered: dict[str, None] = {}
    waiting = [key]
    while waiting:
        last = waiting[-1]
        missing = [edge.key for edge in edges[last] if edge.key not in ordered]
        if missing:
            waiting += missing
        else:
            ordered[waiting.pop()] = None
    return tuple(ordered)


def _planned(row: StageRow, edges: Sequence[Edge]) -> PlannedStage:
    """Return a stage as a plan has it, with the key that it was given, whatever today's version would say."""
    params = KINDS[_kind(row)].params.model_validate(row.params)
    return PlannedStage(StageSpec(kind=_kind(row), params=params, inputs=tuple(edges)), row.key, row.label)


def _kind(row: StageRow) -> StageKind:
    return next(kind for kind in KINDS if kind == row.kind)
