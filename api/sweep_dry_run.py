"""The answer to a sweep that is only tried: its trials, what they share, and what all of it may take."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel

from api.dry_run import DryRun
from api.shapes import Finding
from services.specs.sweep import SweepSpec
from services.sweeps.foresight import Foresight
from services.sweeps.space import Space, name_of

Json = dict[str, Any]


class SweepDryRun(BaseModel):
    """What a sweep would do; nothing is begun.

    Attributes:
        spec: what was asked for, with the whole space.
        trials: how many there are at the most, as far as trials are its budget.
        points: configurations in the space; null where there is no end of them.
        values: of the first trial; those of `tpe` follow from how earlier ones end.
        trial: the experiment of the first trial, which is trained and not tested.
        best: what is trained as a whole in the end, with the first trial's values.
        planned: trials that were planned for what follows; of a longer sweep the rest is taken to be like them.
        total: stages of all trials and the best, each once.
        shared: how many of them all trials have in common; they run once.
        reused: how many are there, or under way, before the sweep.
        seconds: of work, over all that would run and whose time is known; trials that are ended early take less.
        memory_bytes: the most that one stage would take, as far as known; likewise of tensors on a GPU.
        disk_bytes: that the outputs would take, as far as known.
        unknown: names of the stages that would run without an estimate.
        findings: what the linter says; one that is `refused` would refuse the sweep.
    """

    name: str
    dataset: str
    recipe: str | None
    spec: Json
    trials: int
    points: int | None
    values: Json
    trial: DryRun
    best: DryRun
    planned: int
    total: int
    shared: int
    reused: int
    seconds: float
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    disk_bytes: int
    unknown: list[str]
    findings: list[Finding]

    @classmethod
    def of(cls, sweep: SweepSpec, space: Space, found: Foresight) -> Self:
        """Shape what is foreseen."""
        name = name_of(sweep, space.base)
        axes = {path: axis.model_dump(mode="json", exclude_defaults=True) for path, axis in space.axes.items()}
        values, spec, trial = found.first
        owed = [(each.estimate, found.times(needed)) for each, needed in found.stages if each.estimate is not None]
        known = [(estimate, times) for estimate, times in owed if estimate.attempts]
        unknown = (each for each, _ in found.stages if each.estimate is not None and not each.estimate.attempts)
        return cls(
            name=name,
            dataset=space.base.dataset,
            recipe=space.recipe,
            spec=sweep.model_dump(mode="json") | {"name": name, "space": axes},
            trials=found.trials,
            points=space.size,
            values=dict(values),
            trial=DryRun.of(spec, space.recipe, trial),
            best=DryRun.of(found.best[0], space.recipe, found.best[1]),
            planned=found.planned,
            total=round(sum(found.times(needed) for _, needed in found.stages)),
            shared=found.shared,
            reused=sum(each.reused for each, _ in found.stages),
            seconds=sum((each.seconds or 0) * times for each, times in known),
            memory_bytes=max((each.memory_bytes for each, _ in known if each.memory_bytes), default=None),
            gpu_memory_bytes=max((each.gpu_memory_bytes for each, _ in known if each.gpu_memory_bytes), default=None),
            disk_bytes=round(sum((each.disk_bytes or 0) * times for each, times in known)),
            unknown=sorted({each.stage.label for each in unknown}),
            findings=[Finding.of(each) for each in found.findings],
        )
