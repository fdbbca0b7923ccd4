"""Every answer of the API as a pydantic model; the command line and the OpenAPI document rely on these names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from services.db.tables import ExperimentRow
from services.errors import Finding as Found
from services.errors import sentence
from services.journal.events import EventView
from services.queue.experiments import StageView
from services.queue.outlook import Outlook
from services.queue.pace import Span

ExperimentState = Literal["queued", "running", "cancelling", "cancelled", "succeeded", "failed"]
StageState = Literal["waiting", "ready", "running", "succeeded", "failed", "cancelled", "evicted"]
Json = dict[str, Any]

WAITING = ("waiting", "ready")
MAX_SHOWN = 200
"""Characters of a refused value that an error repeats."""


class FieldError(BaseModel):
    """One wrong field: where it is, what was given, what is allowed."""

    field: str
    value: Any
    allowed: str

    @classmethod
    def of(cls, field: str, value: object, allowed: str) -> Self:
        """Shorten a long value, and word one that JSON lacks."""
        return cls(field=field[:MAX_SHOWN], value=_shown(value), allowed=allowed)

    @property
    def sentence(self) -> str:
        """The error in words."""
        return sentence(self.field, self.value, self.allowed)


def _shown(value: object) -> object:
    """Return a value as a problem document can repeat it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        text = value = repr(value)
    return value if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


class Finding(BaseModel):
    """What makes the numbers of an experiment wrong (`refused`), or doubtful (`flagged`)."""

    code: str
    severity: Literal["refused", "flagged"]
    field: str
    sentence: str

    @classmethod
    def of(cls, found: Found) -> Self:
        """Shape a finding."""
        return cls(code=found.code, severity=found.severity, field=found.field, sentence=found.sentence)


class Problem(BaseModel):
    """What went wrong (RFC 9457); `findings` are of an experiment that the linter refuses."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] = []
    findings: list[Finding] = []


class Progress(BaseModel):
    """How many stages of an experiment are in which state."""

    stages: dict[StageState, int]
    total: int


class Withdrawal(BaseModel):
    """Why an experiment is on no leaderboard any more, and who said so."""

    reason: str
    by: str
    at: datetime


class Experiment(BaseModel):
    """What a user submitted, and how far it is.

    Attributes:
        note: what its owner or an administrator wrote beside it.
        archived: whether lists leave it out.
        withdrawn: null where it is not.
        edits: how often name, tags, note or archive were changed; sent back, it guards the next change.
    """

    id: str
    name: str
    state: ExperimentState
    owner: str
    dataset: str
    recipe: str | None
    priority: int
    cause: str | None
    message: str | None
    mlflow_run_id: str | None
    tags: list[str]
    note: str
    archived: bool
    withdrawn: Withdrawal | None
    edits: int
    sweep_id: str | None = None
    trial: int | None = None
    flags: list[Finding]
    progress: Progress
    reused: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: ExperimentRow, counts: Mapping[str, int], **more: Any) -> Self:
        """Shape a row and the counts of its stages by state."""
        return cls(
            id=row.id,
            name=row.name,
            state=row.state,
            owner=row.owner,
            dataset=row.dataset,
            recipe=row.recipe,
            priority=row.priority,
            cause=row.cause,
            message=row.message,
            mlflow_run_id=row.mlflow_run_id,
            tags=row.tags,
            note=row.note,
            archived=row.archived_at is not None,
            withdrawn=_withdrawal(row),
            edits=row.edits,
            sweep_id=row.sweep_id,
            trial=row.trial,
            flags=row.flags,
            progress=Progress(stages=counts, total=row.total_stages),
            reused=row.reused_stages,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            **more,
        )


def _withdrawal(row: ExperimentRow) -> Withdrawal | None:
    if row.withdrawn_at is None:
        return None
    return Withdrawal(reason=row.withdrawn_reason or "", by=row.withdrawn_by or "", at=row.withdrawn_at)


class Seconds(BaseModel):
    """From now on, about so many seconds; `high` is null where nobody can say how many at the most."""

    low: float = Field(ge=0)
    high: float | None

    @classmethod
    def of(cls, span: Span | None) -> Self | None:
        """Shape a range; None where nothing is known."""
        return (
            None
            if span is None
            else cls(low=round(span.low, 1), high=None if span.high is None else round(span.high, 1))
        )


class ExperimentDetail(Experiment):
    """An experiment with its whole spec, defaults filled in; `time_left_seconds` is null where nobody knows."""

    spec: Json
    time_left_seconds: Seconds | None = None


class ExperimentPage(BaseModel):
    """Some of ``total`` experiments, newest first; ``next_cursor`` asks for the next ones."""

    items: list[Experiment]
    next_cursor: str | None
    total: int


class StageProgress(BaseModel):
    """How far a running stage is, in its own units."""

    done: int
    total: int
    unit: str
    message: str


class Stage(BaseModel):
    """A stage in the plan of an experiment.

    Attributes:
        time_left_seconds: of one that runs, by its own progress or else by earlier ones; null is unknown.
        starts_in_seconds: of one that waits, by the queue before it; null is unknown.
    """

    key: str
    kind: str
    name: str
    state: StageState
    split: int | None
    stream: str | None
    seed: int | None
    attempt: int
    progress: StageProgress | None
    reused: bool
    inputs: list[str]
    mlflow_run_id: str | None
    cause: str | None
    message: str | None
    summary: Json | None
    started_at: datetime | None
    finished_at: datetime | None
    time_left_seconds: Seconds | None
    starts_in_seconds: Seconds | None

    @classmethod
    def of(cls, view: StageView, outlook: Outlook | None = None) -> Self:
        """Shape a row of the stage table as one experiment sees it."""
        row, params = view.row, view.row.params
        return cls(
            key=row.key,
            kind=row.kind,
            name=row.label,
            state=row.state,
            split=params.get("split"),
            stream=params.get("stream") or "+".join(params.get("streams", ())) or None,
            seed=params.get("seed"),
            attempt=row.attempt,
            progress=StageProgress.model_validate(row.progress) if row.progress else None,
            reused=view.reused,
            inputs=list(view.inputs),
            mlflow_run_id=row.mlflow_run_id,
            cause=row.cause,
            message=row.message,
            summary=row.summary,
            started_at=row.started_at,
            finished_at=row.finished_at,
            time_left_seconds=Seconds.of(outlook.left.get(row.key)) if outlook and row.state == "running" else None,
            starts_in_seconds=Seconds.of(outlook.starts.get(row.key)) if outlook and row.state in WAITING else None,
        )


class Event(BaseModel):
    """One thing that happened; its number travels as the id of the server-sent event."""

    type: str
    stage_key: str | None
    attempt: int | None
    data: Json
    created_at: datetime

    @classmethod
    def of(cls, view: EventView) -> Self:
        """Shape an event of an experiment or of one of its stages."""
        return cls(
            type=view.type,
            stage_key=view.stage_key,
            attempt=view.attempt,
            data=view.data,
            created_at=view.created_at,
        )
