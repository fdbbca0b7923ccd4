"""The answer to a submission that is only tried: what would run, and what it may take."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from api.shapes import Finding, StageState
from services.planning.dry_run import Foreseen, Trial
from services.specs import EnsembleSpec, ExperimentSpec


class StageEstimate(BaseModel):
    """What a stage may take, by earlier attempts at stages of its kind and sizes; null is unknown.

    Attributes:
        attempts: how many there are.
        seconds: their median.
        memory_bytes: the most of them; likewise of tensors on a GPU, and of the output on disk.
    """

    attempts: int
    seconds: float | None
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    disk_bytes: int | None


class PlannedStage(BaseModel):
    """A stage that a submission would plan.

    Attributes:
        state: null where nobody planned it before.
        reused: whether what is there, or under way, does for it; then it has no estimate.
    """

    key: str
    kind: str
    name: str
    state: StageState | None
    reused: bool
    inputs: list[str]
    estimate: StageEstimate | None

    @classmethod
    def of(cls, found: Foreseen) -> Self:
        """Shape a stage of a plan."""
        stage, estimate = found.stage, found.estimate
        return cls(
            key=stage.key,
            kind=stage.spec.kind,
            name=stage.label,
            state=found.state,
            reused=found.reused,
            inputs=[edge.key for edge in stage.spec.inputs],
            estimate=None if estimate is None else StageEstimate(**estimate._asdict()),
        )


class DryRun(BaseModel):
    """What an experiment would do; nothing is queued.

    Attributes:
        seconds: of work, over all stages that would run and whose time is known; several may run at once.
        disk_bytes: that their outputs would take, as far as known.
        memory_bytes: the most that one of them would take, likewise; and of tensors on a GPU.
        unknown: names of the stages that would run without an estimate.
        findings: what the linter says; one that is `refused` would refuse the submission.
    """

    name: str
    dataset: str
    recipe: str | None
    stages: list[PlannedStage]
    total: int
    reused: int
    seconds: float
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    disk_bytes: int
    unknown: list[str]
    findings: list[Finding]

    @classmethod
    def of(cls, spec: ExperimentSpec | EnsembleSpec, recipe: str | None, trial: Trial) -> Self:
        """Shape a plan."""
        found = trial.stages
        known = [each.estimate for each in found if each.estimate is not None and each.estimate.attempts]
        return cls(
            name=spec.name,
            dataset=spec.dataset,
            recipe=recipe,
            stages=[PlannedStage.of(each) for each in found],
            total=len(found),
            reused=sum(each.reused for each in found),
            seconds=sum(each.seconds or 0 for each in known),
            memory_bytes=max((each.memory_bytes for each in known if each.memory_bytes), default=None),
            gpu_memory_bytes=max((each.gpu_memory_bytes for each in known if each.gpu_memory_bytes), default=None),
            disk_bytes=sum(each.disk_bytes or 0 for each in known),
            unknown=[each.stage.label for each in found if each.estimate is not None and not each.estimate.attempts],
            findings=[Finding.of(each) for each in trial.findings],
        )
