"""The graph of a finished system's stages, and what of it a bundle holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from services.bundles.contents import WEIGHT_KINDS, BundledStage, Result
from services.errors import Conflict
from services.params import FlowMethodParams, Params
from services.stages import KINDS, ExtractParams, FlowParams, ScoreParams, StageKind

NAMED = 12  # digits of a key that a name has
AGAIN = "submit the experiment again to have it made"


@dataclass(frozen=True)
class Node:
    """A stage as the database has it: its parameters, and the keys of its inputs by name, in the plan's order."""

    key: str
    kind: StageKind
    label: str
    params: Params
    inputs: Mapping[str, str]
    state: str
    output: str | None


@dataclass(frozen=True)
class System:
    """One split and seed of an experiment: the graph of its stages, and what it reached."""

    experiment: str
    name: str
    recipe: str | None
    dataset: str
    split: int
    seed: int
    spec: Mapping[str, Any]
    graph: Mapping[str, Node]
    last: str
    report: tuple[Result, ...]


@dataclass
class Bundler:
    """Turns a graph of stages into those of a bundle, each after its inputs.

    Attributes:
        stages: so far, by name.
        outputs: of the training stages: where the store has their weights, by name.
        files: of weights that a spec names, by name.
    """

    graph: Mapping[str, Node]
    stages: dict[str, BundledStage] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def add(self, key: str) -> str | None:
        """Add a stage and all that it needs, and return its name; None for what stands before the first clip.

        Raises:
            Conflict: weights are not there yet, or no longer; scores were brought, so that no network made them.
        """
        node = self.graph[key]
        if node.kind == "index":
            return None
        if node.kind in {"flow", "gpu_flow"}:
            return self._add_flow(node)
        if node.kind in WEIGHT_KINDS:
            return self._add_trained(node)
        if node.kind == "score" and not isinstance(node.params, ScoreParams):
            raise Conflict(f"{node.label}: scores that were brought have no network, so that no bundle can make them")
        inputs: dict[str, str] = {}
        for name, source in node.inputs.items():
            made = self.add(source)
            if made is not None:
                inputs["flow/0" if name.startswith("flow/") else name] = made  # the shards of flow are one
        params, files = self._params(node)
        return self._put(node, _name(node.kind, key), params, inputs | files)

    def _add_flow(self, node: Node) -> str:
        assert isinstance(node.params, FlowParams)
        _require_no_file(node, node.params)
        params = node.params.model_copy(update={"shard": 0, "shards": 1})
        for stage in self.stages.values():
            if stage.kind == node.kind and stage.params == params.model_dump(mode="json"):
                return stage.name
        node = replace(node, label=node.label.partition(", shard")[0])
        return self._put(node, _name(node.kind, node.key), params, {})

    def _add_trained(self, node: Node) -> str:
        name = _name(node.kind, node.key)
        if node.state != "succeeded" or node.output is None:
            hint = AGAIN if node.state == "evicted" else "wait for it"
            raise Conflict(f"{node.label} is {node.state}: its weights are not there; hint: {hint}")
        self.outputs[name] = node.output
        return self._put(node, name, node.params, {})

    def _params(self, node: Node) -> tuple[Params, dict[str, str]]:
        """Return a stage's parameters without files of weights, and these as inputs."""
        params = node.params
        look = params.input if isinstance(params, ScoreParams) else params
        flow = getattr(look, "flow", None)
        if flow is not None:
            _require_no_file(node, flow)
        if not isinstance(params, ExtractParams) or params.backbone.weights in {"none", "imagenet"}:
            return params, {}
        name = _name("file", node.key)
        self.files[name] = Path(params.backbone.weights)
        backbone = params.backbone.model_copy(update={"weights": "none", "digest": None})
        return params.model_copy(update={"backbone": backbone}), {"weights": name}

    def _put(self, node: Node, name: str, params: Params, inputs: dict[str, str]) -> str:
        if name not in self.stages:
            self.stages[name] = BundledStage(
                name=name,
                kind=node.kind,
                version=KINDS[node.kind].version,
                label=node.label,
                params=params.model_dump(mode="json"),
                inputs=inputs,
            )
        return name


def _require_no_file(node: Node, flow: FlowMethodParams) -> None:
    if flow.weights not in {None, "default"}:
        raise Conflict(f"{node.label}: flow.weights is a file of the workers, which a bundle cannot hold")


def _name(kind: str, key: str) -> str:
    return f"{kind}-{key[:NAMED]}"
