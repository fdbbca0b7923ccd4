"""The plan of an experiment as a list that fits a narrow screen: by split, and in it by depth in the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.shapes import Stage

DEEPEST = 6


@dataclass(frozen=True)
class Node:
    """A stage; ``depth`` is its distance from the stages of its group that need none of them."""

    stage: Stage
    depth: int
    reason: str | None
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """The stages of one split, or those that all splits share."""

    title: str
    nodes: tuple[Node, ...]

    @property
    def done(self) -> int:
        """How many have ended well."""
        return sum(node.stage.state in ("succeeded", "evicted") for node in self.nodes)


def groups(stages: Sequence[Stage], reasons: Mapping[str, str]) -> list[Group]:
    """Return the stages by split, each group in the order of the plan; those that all share come first."""
    split_of = _splits(stages)
    numbers = sorted({split for split in split_of.values() if split is not None})
    found = [
        ("For all splits", [stage for stage in stages if split_of[stage.key] is None]),
        *((f"Split {split}", [stage for stage in stages if split_of[stage.key] == split]) for split in numbers),
    ]
    names = {stage.key: stage.name for stage in stages}
    return [Group(title, tuple(_nodes(members, reasons, names))) for title, members in found if members]


def _splits(stages: Sequence[Stage]) -> dict[str, int | None]:
    """Return the split of each stage: its own, or the one of what it needs, such as of features of a tuned network."""
    found: dict[str, int | None] = {}
    for stage in stages:  # a plan names what a stage needs before it
        inherited = {found[key] for key in stage.inputs if found.get(key) is not None}
        found[stage.key] = stage.split if stage.split is not None or len(inherited) != 1 else inherited.pop()
    return found


def _nodes(stages: Sequence[Stage], reasons: Mapping[str, str], names: Mapping[str, str]) -> list[Node]:
    depths: dict[str, int] = {}
    for stage in stages:
        depths[stage.key] = min(DEEPEST, 1 + max((depths.get(key, -1) for key in stage.inputs), default=-1))
    return [
        Node(
            stage, depths[stage.key], reasons.get(stage.key), tuple(names[key] for key in stage.inputs if key in names)
        )
        for stage in stages
    ]
