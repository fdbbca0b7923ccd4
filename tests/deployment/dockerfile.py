"""The Dockerfile, read: its stages, and what an image inherits from those below it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.deployment.project import ROOT


@dataclass
class Stage:
    """One `FROM` of the Dockerfile with what follows it."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [rest for word, rest in self.instructions if word == keyword]


def read_dockerfile() -> dict[str, Stage]:
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    stages: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        keyword, rest = line.split(maxsplit=1)
        if keyword == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = Stage(name, base)
        else:
            stages[name].instructions.append((keyword, " ".join(rest.split())))
    return stages


STAGES = read_dockerfile()


def lineage(name: str) -> Iterator[Stage]:
    """Yield a stage and those it stands on."""
    while name in STAGES:
        yield STAGES[name]
        name = STAGES[name].base


def inherited(name: str, keyword: str) -> list[str]:
    return [rest for stage in reversed(list(lineage(name))) for rest in stage.all(keyword)]


def image_environment(name: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for rest in inherited(name, "ENV") for entry in shlex.split(rest))


def image_command(name: str) -> list[str]:
    command: list[str] = json.loads(inherited(name, "CMD")[-1])
    return command
