"""Shapes of sweeps and their trials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel

from api import spreadsheet
from api.shapes import ExperimentState
from services.db.tables import SweepRow, SweepTrialRow
from services.specs.sweep import SweepSpec
from services.sweeps import analysis
from services.sweeps.space import trials_of
from services.sweeps.sweeps import View, spec_of

SweepState = Literal["running", "finishing", "cancelling", "cancelled", "succeeded", "failed"]
TrialState = Literal["running", "succeeded", "pruned", "failed", "cancelled"]
Json = dict[str, Any]


class SweepTrial(BaseModel):
    """A configuration that was tried.

    Attributes:
        values: of each field of the space.
        value: accuracy of its networks, 0 to 1, on the clips that the sweep's objective names: in the end, or where it
            was ended early; the best by now of one that runs.
        epochs: that have ended.
    """

    number: int
    state: TrialState
    values: Json
    value: float | None
    epochs: int
    message: str | None
    experiment_id: str | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: SweepTrialRow) -> Self:
        """Shape a row."""
        return cls.model_validate({name: getattr(row, name) for name in cls.model_fields})


class Sweep(BaseModel):
    """A search over the fields of an experiment.

    Attributes:
        message: why it did not succeed.
        trials: how many are in which state.
        planned: how many there may be, as far as trials are its budget.
        best_trial: the number of the best one, once all have ended.
    """

    id: str
    name: str
    state: SweepState
    owner: str
    dataset: str
    recipe: str | None
    message: str | None
    trials: dict[TrialState, int]
    planned: int
    best_trial: int | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: SweepRow, counts: Mapping[str, int], **more: Any) -> Self:
        """Shape a row and the counts of its trials by state."""
        own = set(Sweep.model_fields) - {"trials", "planned"}
        values = {name: getattr(row, name) for name in own}
        return cls.model_validate(values | {"trials": dict(counts), "planned": trials_of(*spec_of(row))} | more)


class BestExperiment(BaseModel):
    """The experiment in which the best configuration was trained on the whole train list, and tested."""

    id: str
    name: str
    state: ExperimentState


class SweepFigure(BaseModel):
    """A picture of a sweep, where it is, and why it is not there if not."""

    name: str
    available: bool
    reason: str | None
    svg: str
    png: str


class SweepDetail(Sweep):
    """A sweep with all that is known of it.

    Attributes:
        spec: what was asked for, with the whole space.
        base: the experiment from which trials differ.
        results: its trials by number.
        importance: the share of the variance of the accuracy that each field explains (fANOVA), 0 to 1, the largest
            first; empty where it is not known.
        best: once it is submitted.
        gpu_hours: that its stages have taken.
    """

    spec: Json
    base: Json
    results: list[SweepTrial]
    importance: dict[str, float]
    figures: list[SweepFigure]
    best: BestExperiment | None
    gpu_hours: float

    @classmethod
    def of_view(cls, view: View) -> Self:
        """Shape all that is known of a sweep."""
        _, space = spec_of(view.row)
        best = view.best
        return cls.of(
            view.row,
            view.counts,
            spec=view.row.spec,
            base=view.row.base,
            results=[SweepTrial.of(row) for row in view.trials],
            importance=analysis.importances(view.trials, space.axes),
            figures=[_figure(view, name, analysis.lacks(view.trials, space.axes, name)) for name in analysis.FIGURES],
            best=None if best is None else BestExperiment(id=best.id, name=best.name, state=best.state),
            gpu_hours=view.gpu_hours,
        )


def _figure(view: View, name: str, reason: str | None) -> SweepFigure:
    base = f"/sweeps/{view.row.id}/figures/{name}"
    return SweepFigure(name=name, available=reason is None, reason=reason, svg=f"{base}.svg", png=f"{base}.png")


class SweepPage(BaseModel):
    """Some of ``total`` sweeps, newest first; ``next_cursor`` asks for the next ones."""

    items: list[Sweep]
    next_cursor: str | None
    total: int


def as_csv(sweep: SweepSpec, trials: Sequence[SweepTrial]) -> str:
    """Return a line for each trial, with a column for each field of the space; accuracies are between 0 and 1."""
    fields = list(sweep.space or {})
    head: list[object] = [
        "trial",
        "state",
        "accuracy",
        "epochs",
        *fields,
        "experiment_id",
        "created_at",
        "finished_at",
        "message",
    ]
    lines: list[list[object]] = [head]
    for trial in trials:
        values = [_cell(trial.values.get(name)) for name in fields]
        times = [None if moment is None else moment.isoformat() for moment in (trial.created_at, trial.finished_at)]
        said = [trial.number, trial.state, trial.value, trial.epochs]
        lines.append([*said, *values, trial.experiment_id, *times, trial.message])
    return spreadsheet.as_csv(lines)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict | bool) else value
