"""The plan of an experiment as a list that fits a narrow screen: by split, and in it by depth in the graph.

Of an experiment of many stages those that differ in seed or shard alone stand together, as long as there is nothing to
say of each: nobody reads a hundred lines that say the same, and each takes time to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.queue.outline import Outline
from services.words import counted

DEEPEST = 6
MANY, FEW = 60, 3
"""Stages of an experiment up to which each has a line; stages that are alike up to which each has one always."""
DONE = ("succeeded", "evicted")
QUIET = (*DONE, "waiting", "ready", "cancelled")
"""States of which one line may speak for several stages."""
OWN = re.compile(r", (seed|shard) [0-9]+( of [0-9]+)?")
"""The part of a stage's name in which it differs from those like it."""


@dataclass(frozen=True)
class Node:
    """A stage; ``depth`` is its distance from the stages of its group that need none of them."""

    key: str
    depth: int


@dataclass(frozen=True)
class Bundle:
    """Stages that are alike; ``key`` is that of the first of them."""

    key: str
    name: str
    words: str
    state: str
    depth: int


@dataclass(frozen=True)
class Group:
    """The stages of one split, or those that all splits share; ``done`` have ended well."""

    title: str
    total: int
    done: int
    lines: tuple[Node | Bundle, ...]

    @property
    def alone(self) -> list[str]:
        """The keys of the stages that have a line of their own."""
        return [line.key for line in self.lines if isinstance(line, Node)]


def groups(stages: Sequence[Outline], *, each: bool = False) -> list[Group]:
    """Return the stages by split, each group in the order of the plan; those that all share come first.

    Args:
        stages: in the order of the plan.
        each: whether every stage has one, however many there are.
    """
    split_of = _splits(stages)
    numbers = sorted({split for split in split_of.values() if split is not None})
    found = [
        ("For all splits", [stage for stage in stages if split_of[stage.key] is None]),
        *((f"Split {split}", [stage for stage in stages if split_of[stage.key] == split]) for split in numbers),
    ]
    together = len(stages) > MANY and not each
    return [_group(title, members, together) for title, members in found if members]


def _splits(stages: Sequence[Outline]) -> dict[str, int | None]:
    """Return the split of each stage: its own, or the one of what it needs, such as of features of a tuned network."""
    found: dict[str, int | None] = {}
    for stage in stages:  # a plan names what a stage needs before it
        inherited = {found[key] for key in stage.inputs if found.get(key) is not None}
        found[stage.key] = stage.split if stage.split is not None or len(inherited) != 1 else inherited.pop()
    return found


def _group(title: str, stages: Sequence[Outline], together: bool) -> Group:
    depths: dict[str, int] = {}
    for stage in stages:
        depths[stage.key] = min(DEEPEST, 1 + max((depths.get(key, -1) for key in stage.inputs), default=-1))
    lines: list[Node | Bundle] = []
    for alike in _alike(stages, depths) if together else ([stage] for stage in stages):
        first = alike[0]
        if len(alike) > FEW:
            lines.append(Bundle(first.key, OWN.sub("", first.label), _words(alike), first.state, depths[first.key]))
        else:
            lines += [Node(stage.key, depths[stage.key]) for stage in alike]
    done = sum(stage.state in DONE for stage in stages)
    return Group(title, len(stages), done, tuple(lines))


def _alike(stages: Sequence[Outline], depths: Mapping[str, int]) -> Iterator[list[Outline]]:
    """Yield stages that one line may speak for; those that are alike but for their state follow each other."""
    found: dict[tuple[str, int], dict[object, list[Outline]]] = {}
    for stage in stages:
        quiet = stage.state in QUIET and stage.message is None and stage.attempt <= 1
        place = (OWN.sub("", stage.label), depths[stage.key])
        found.setdefault(place, {}).setdefault((stage.state, stage.reused) if quiet else stage.key, []).append(stage)
    for alike in found.values():
        yield from alike.values()


def _words(alike: Sequence[Outline]) -> str:
    """Say how many there are, by what they differ in."""
    own = OWN.search(alike[0].label)
    words = counted(len(alike), own[1] if own else "stage")
    return f"{words}, shared with others" if alike[0].reused else words
