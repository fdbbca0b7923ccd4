"""Plans an ensemble: what its members need, shared with whoever needs it too, and one `fuse` for each split and seed.

A stored spec is not read again: stages of an experiment are taken as they stand in the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple, cast

from pydantic import ConfigDict
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.board.network import filed
from services.board.protocol import EnsembleProtocol, Measurement, Protocol
from services.db.tables import ExperimentRow, ExperimentStageRow, ExperimentStreamRow, ProtocolRow, StageRow
from services.errors import Finding, InvalidRequest, nearest
from services.params import Params
from services.planning.plan import Plan
from services.planning.planned import PlannedStage
from services.planning.provenance import by_test, is_chosen, origins
from services.planning.sources import Sources
from services.recipes import RECIPES
from services.scores import uploads
from services.specs import EnsembleSpec, ExperimentSpec, MemberSpec, Stream
from services.stages import Edge, FuseMember, FuseParams, IndexParams, StageKind, StageSpec

INHERITED = ("weights_unknown", "validation_seen", "selected_on_test", "best_of_trials")
"""What is doubtful of a member is so of the ensemble; what concerns the dataset is found of the ensemble itself."""
INPUTS = text("""
WITH RECURSIVE needed (key) AS (
    SELECT CAST(:key AS text)
    UNION SELECT stage_input.input_key FROM stage_input JOIN needed ON stage_input.stage_key = needed.key
)
SELECT stage_key, name, input_key FROM stage_input JOIN needed ON stage_key = needed.key ORDER BY stage_key, position
""")


class StoredParams(Params):
    """Parameters of a stage that is there, as they were stored."""

    model_config = ConfigDict(extra="allow")


class System(NamedTuple):
    """A member: the stage of its scores by split and seed, the streams that it saw, and how it is measured."""

    keys: Mapping[tuple[int, int], str]
    streams: tuple[Stream, ...]
    protocol: dict[str, Any]


@dataclass
class EnsemblePlan:
    """Builds the graph of one ensemble; ``stages`` lists inputs before what needs them.

    ``coming`` are experiments that are members and not there yet, by the ids that stand for them; ``doubts`` what is
    doubtful of those that are there, ``brought`` the kinds of score files that users brought.
    """

    session: Session
    spec: EnsembleSpec
    index: IndexParams
    stages: dict[str, PlannedStage] = field(default_factory=dict)
    coming: Mapping[str, ExperimentSpec] = field(default_factory=dict)
    doubts: list[Finding] = field(default_factory=list)
    brought: dict[str, str] = field(default_factory=dict)

    def build(self) -> tuple[tuple[PlannedStage, ...], tuple[Measurement, ...]]:
        """Return the stages, and how the ensemble is measured.

        Raises:
            InvalidRequest: a member is not there, or has other data, splits or seeds.
        """
        spec = self.spec
        index = StageSpec(kind="index", params=self.index)
        self.stages[index.key] = PlannedStage(index, index.key, f"index {spec.dataset}")
        systems = [self._system(number, member) for number, member in enumerate(spec.members)]
        for number, system in enumerate(systems):
            if self._indexes(system) - {index.key}:
                present = "one that was measured on the dataset's present revision"
                raise InvalidRequest(f"members.{number}.experiment", spec.members[number].experiment, present)
        self._require_logits(systems)
        for place in product(spec.splits, spec.seeds):
            self._fuse(systems, *place)
        return tuple(self.stages.values()), (self._measurement(systems),)

    def _require_logits(self, systems: list[System]) -> None:
        """Refuse members whose scores are probabilities where logits are to be fused, before anything is trained."""
        places = [*product(self.spec.splits, self.spec.seeds)] if self.spec.method == "logits" else []
        for number, (member, system) in enumerate(zip(self.spec.members, systems, strict=True)):
            if not all(self._is_logits(system.keys[place]) for place in places):
                field = "scores" if member.scores else "experiment" if member.experiment else "recipe"
                value = list(member.scores) or member.experiment or member.recipe
                allowed = "one whose scores are logits, since method is logits; its own are probabilities"
                raise InvalidRequest(f"members.{number}.{field}", value, allowed)

    def _is_logits(self, key: str) -> bool:
        """Say whether the scores that a stage leaves are logits."""
        stage = self.stages[key].spec
        params = stage.params.model_dump(mode="json")
        if stage.kind != "fuse":
            return (params.get("average") or self.brought.get(key)) == "logits"
        if params["method"] != "features":
            return bool(params["method"] == "logits")
        return all(self._is_logits(edge.key) for edge in stage.inputs)  # of one network, whose scores stay as they are

    def _fuse(self, systems: list[System], split: int, seed: int) -> None:
        spec = self.spec
        edges = tuple(Edge(name=f"member/{at}", key=system.keys[split, seed]) for at, system in enumerate(systems))
        params = FuseParams(
            dataset=spec.dataset,
            split=split,
            seed=seed,
            method=spec.method,
            weights={},
            members=tuple(
                FuseMember(name=edge.name, weight=member.weight)
                for edge, member in zip(edges, spec.members, strict=True)
            ),
        )
        stage = StageSpec(kind="fuse", params=params, inputs=edges)
        label = f"fuse {len(edges)} {'system' if len(edges) == 1 else 'systems'}, split {split}, seed {seed}"
        self.stages[stage.key] = PlannedStage(stage, stage.key, label)

    def _indexes(self, system: System) -> set[str]:
        """Return the keys of the `index` stages whose test clips a system was scored on."""
        scored = [self.stages[key] for key in system.keys.values() if key in self.stages]
        scored += [self.stages[edge.key] for stage in scored if stage.spec.kind == "fuse" for edge in stage.spec.inputs]
        return {edge.key for stage in scored for edge in stage.spec.inputs if edge.name == "index"}

    def _measurement(self, systems: list[System]) -> Measurement:
        members = self.spec.members
        protocol = EnsembleProtocol.of(
            self.spec.method,
            [(member.weight, system.protocol) for member, system in zip(members, systems, strict=True)],
        )
        uploaded = any(member.scores for member in members)
        streams = {stream for system in systems for stream in system.streams}
        stream = streams.pop() if len(streams) == 1 else "two-stream"
        return Measurement(stream, protocol, "ensemble (uploaded)" if uploaded else "ensemble", "ensemble", uploaded)

    def _system(self, number: int, member: MemberSpec) -> System:
        at = f"members.{number}"
        if member.scores:
            return self._uploaded(at, member)
        return self._of_recipe(at, member) if member.recipe is not None else self._of_experiment(at, member)

    def _of_recipe(self, at: str, member: MemberSpec) -> System:
        assert member.recipe is not None
        if member.recipe not in RECIPES:
            raise InvalidRequest(f"{at}.recipe", member.recipe, nearest(member.recipe, RECIPES))
        return self._planned(at, member, RECIPES[member.recipe].spec, f"recipe {member.recipe}")

    def _planned(self, at: str, member: MemberSpec, base: ExperimentSpec, words: str) -> System:
        """Plan what a member's spec needs, on the ensemble's dataset, splits and seeds."""
        assert member.stream is not None
        own = {"dataset": self.spec.dataset, "splits": self.spec.splits, "seeds": self.spec.seeds}
        spec = base.model_copy(update=own)
        plan = Plan(spec, self.index, self.stages, sources=Sources(self.session, spec.dataset))
        keys = {place: plan.add_system(member.stream, *place) for place in product(spec.splits, spec.seeds)}
        found = {place: key for place, key in keys.items() if key is not None}
        if len(found) < len(keys):
            allowed = f"a stream of which {words} has scores of its own"
            raise InvalidRequest(f"{at}.stream", member.stream, allowed)
        protocol, behind = Protocol.of(spec, member.stream), origins(self.stages.values())
        if any(is_chosen(behind[key], spec.dataset) for key in found.values()):
            protocol = by_test(protocol)
        return System(found, _streams(member), protocol.fields)

    def _of_experiment(self, at: str, member: MemberSpec) -> System:
        session, spec, id_ = self.session, self.spec, member.experiment
        if id_ is not None and id_ in self.coming:
            return self._planned(at, member, self.coming[id_], id_)
        row = session.get(ExperimentRow, id_)
        if row is None or row.dataset != spec.dataset or "members" in row.spec:
            raise InvalidRequest(f"{at}.experiment", id_, f"an experiment on {spec.dataset} that is no ensemble")
        kind = "fuse" if member.stream == "two-stream" else "score"
        query = select(StageRow).join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        query = query.where(ExperimentStageRow.experiment_id == id_, StageRow.kind == kind)
        stages = {
            (stage.params["split"], stage.params["seed"]): stage.key
            for stage in session.scalars(query)
            if kind == "fuse" or filed(stage.params) == member.stream
        }
        measured = (ExperimentStreamRow.experiment_id == id_, ExperimentStreamRow.stream == member.stream)
        protocol = session.scalar(
            select(ProtocolRow.fields).join(ExperimentStreamRow, ExperimentStreamRow.protocol == ProtocolRow.digest)
            .where(*measured)
        )  # fmt: skip
        if protocol is None or not stages:
            raise InvalidRequest(f"{at}.stream", member.stream, f"a stream of which {id_} has scores of its own")
        for split, seed in product(spec.splits, spec.seeds):
            if (split, seed) not in stages:
                raise InvalidRequest(f"{at}.experiment", id_, f"one with split {split} and seed {seed}")
            self._share(stages[split, seed])
        self.doubts += [
            Finding(flag["code"], "flagged", f"{at}.experiment", f"{id_}: {flag['sentence']}")
            for flag in row.flags
            if flag["code"] in INHERITED
        ]
        return System(stages, _streams(member), protocol)

    def _uploaded(self, at: str, member: MemberSpec) -> System:
        found = {}
        for number, id_ in enumerate(member.scores):
            row = next(iter(uploads.named(self.session, [id_])), None)
            if row is None or row.dataset != self.spec.dataset:
                raise InvalidRequest(f"{at}.scores.{number}", id_, f"a score file of {self.spec.dataset}")
            if row.split in found:
                raise InvalidRequest(f"{at}.scores.{number}", id_, f"one score file of split {row.split}")
            found[row.split] = row
        for split in self.spec.splits:
            if split not in found:
                raise InvalidRequest(f"{at}.scores", list(member.scores), f"a score file of split {split} too")
            self._share(found[split].id)
            self.brought[found[split].id] = found[split].kind
        streams = {stream for row in found.values() for stream in uploads.STREAMS[row.stream]}
        keys = {(split, seed): found[split].id for split, seed in product(self.spec.splits, self.spec.seeds)}
        return System(keys, tuple(name for name in ("rgb", "flow") if name in streams), {"uploaded": True})

    def _share(self, key: str) -> None:
        """Put a stage that is there into the plan, after all that it needs."""
        edges: dict[str, list[Edge]] = {}
        for stage_key, name, input_key in self.session.execute(INPUTS, {"key": key}):
            edges.setdefault(stage_key, []).append(Edge(name=name, key=input_key))
        keys = list(dict.fromkeys(_inputs_first(key, edges)))
        rows = {row.key: row for row in self.session.scalars(select(StageRow).where(StageRow.key.in_(keys)))}
        for each in keys:
            row = rows[each]
            spec = StageSpec.model_construct(
                kind=cast("StageKind", row.kind), params=StoredParams(**row.params), inputs=tuple(edges.get(each, ()))
            )
            self.stages.setdefault(each, PlannedStage(spec, each, row.label))


def _inputs_first(key: str, edges: Mapping[str, list[Edge]]) -> Iterator[str]:
    """Yield a stage and all that it needs, what it needs first; a stage that several need comes several times."""
    for edge in edges.get(key, ()):
        yield from _inputs_first(edge.key, edges)
    yield key


def _streams(member: MemberSpec) -> tuple[Stream, ...]:
    assert member.stream is not None
    return uploads.STREAMS[member.stream]
