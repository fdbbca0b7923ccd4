"""Shapes of what is launched of a paper, and of what a launch did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from api.shapes import FieldError, Finding
from services.papers import Order, Reduction, Run, Skipped
from services.planning.launch import Launch, LaunchPlan, stage_counts
from services.specs import FlowAlgorithm

Row = Annotated[str, Field(min_length=1, max_length=100)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


REDUCED = {
    "dataset": "dataset",
    "backbone.name": "backbone",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "flow.algorithm": "flow",
}
"""Fields of a request by those of a spec that they stand in."""


class LaunchRequest(BaseModel):
    """What is to be launched of a paper or of a table of it; all that is left out is the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rows: Annotated[list[Row], Field(min_length=1, max_length=400)] | None = None
    """In the table's words; all that the paper measured itself where none are named."""
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=20)] = [0]
    dataset: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """In place of the paper's, for all rows that are of another; networks of those that start from a network trained on
    some dataset start from nothing."""
    backbone: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """In place of every ConvNet."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Of every training, at a constant rate."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Of every training, at the most."""
    flow: FlowAlgorithm | None = None
    """Algorithm of optical flow."""
    priority: Annotated[int, Field(ge=0, le=100)] = 50

    @property
    def order(self) -> Order:
        """What the launcher takes."""
        by = Reduction(self.dataset, self.backbone, self.epochs, self.batch_size, self.flow)
        return Order(tuple(dict.fromkeys(self.seeds)), by, self.priority)


def as_asked(errors: Iterable[FieldError], order: Order) -> list[FieldError]:
    """Return errors of the specs that a launch would submit, at the fields that the request itself has, each once."""
    given = {name for name, value in vars(order.by).items() if value is not None}
    found: list[FieldError] = []
    for error in errors:
        own = next((name for end, name in REDUCED.items() if f".{error.field}".endswith(f".{end}")), None)
        moved = FieldError.of(own, error.value, error.allowed) if own in given else error
        found += [moved] if moved not in found else []
    return found


class LaunchedExperiment(BaseModel):
    """An experiment behind some rows, by table; ``created`` is false where it was there, ``id`` null where it would be
    new."""

    id: str | None
    name: str
    created: bool
    dataset: str
    recipe: str | None
    splits: list[int]
    seeds: list[int]
    stages: int
    tables: dict[str, list[str]]

    @classmethod
    def of(cls, run: Run, experiment_id: str | None, created: bool, stages: int) -> Self:
        """Shape an experiment."""
        tables: dict[str, dict[str, None]] = {}
        for covered in run.figures:
            tables.setdefault(covered.figure.table, {})[covered.figure.row] = None
        return cls(
            id=experiment_id,
            name=run.name,
            created=created,
            dataset=run.dataset,
            recipe=run.recipe,
            splits=list(run.splits),
            seeds=list(run.seeds),
            stages=stages,
            tables={table: [*rows] for table, rows in tables.items()},
        )


class SkippedFigure(BaseModel):
    """A figure for which nothing was launched, and why."""

    table: str
    row: str
    column: str
    reason: str


class LaunchAnswer(BaseModel):
    """What a launch did, or would do with `dry_run`.

    Attributes:
        created: how many experiments are new.
        reused: how many were there, or under way.
        planned: stages of all experiments.
        unique: different ones among them; the others are shared.
        findings: what the linter says of all experiments, each once; with `dry_run` one that is `refused` would refuse
            the launch.
        seconds: of work that is left, as far as earlier attempts say; null for what was launched: `dry_run` says it.
    """

    paper: str
    dry_run: bool
    figures: int
    created: int
    reused: int
    planned: int
    unique: int
    seconds: float | None
    findings: list[Finding]
    experiments: list[LaunchedExperiment]
    skipped: list[SkippedFigure]

    @classmethod
    def launched(cls, paper: str, figures: int, found: Launch) -> Self:
        """Shape what a launch did."""
        experiments = [
            LaunchedExperiment.of(each.run, each.experiment.id, each.created, each.experiment.total_stages)
            for each in found.launched
        ]
        planned = sum(each.experiment.total_stages for each in found.launched)
        flags = [Finding(**flag) for each in found.launched for flag in each.experiment.flags]
        return cls._of(
            paper, figures, experiments, found.skipped, flags, dry_run=False, planned=planned, unique=found.unique
        )

    @classmethod
    def foreseen(cls, paper: str, figures: int, found: LaunchPlan) -> Self:
        """Shape what a launch would do."""
        experiments = [
            LaunchedExperiment.of(each.run, each.experiment_id, each.experiment_id is None, len(each.stages))
            for each in found.planned
        ]
        owed = {each.stage.key: each.estimate for plan in found.planned for each in plan.stages if each.estimate}
        seconds = sum(estimate.seconds or 0 for estimate in owed.values())
        planned, unique = stage_counts(found.planned)
        findings = [Finding.of(each) for plan in found.planned for each in plan.findings]
        return cls._of(
            paper,
            figures,
            experiments,
            found.skipped,
            findings,
            dry_run=True,
            planned=planned,
            unique=unique,
            seconds=seconds,
        )

    @classmethod
    def _of(
        cls,
        paper: str,
        figures: int,
        experiments: list[LaunchedExperiment],
        skipped: tuple[Skipped, ...],
        findings: list[Finding],
        *,
        dry_run: bool,
        planned: int,
        unique: int,
        seconds: float | None = None,
    ) -> Self:
        created = sum(each.created for each in experiments)
        return cls(
            paper=paper,
            dry_run=dry_run,
            figures=figures,
            created=created,
            reused=len(experiments) - created,
            planned=planned,
            unique=unique,
            seconds=seconds,
            findings=[each for at, each in enumerate(findings) if each not in findings[:at]],
            experiments=experiments,
            skipped=[
                SkippedFigure(
                    table=each.figure.table, row=each.figure.row, column=each.figure.column, reason=each.reason
                )
                for each in skipped
            ],
        )
