"""What a run leaves, as JSON or as a page of Markdown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from api.board import Result, Source, Stream
from api.deps import DatabaseDep, Id
from api.markdown import page
from api.shapes import ExperimentDetail, Json, StageState
from services import report, revisions
from services.db.tables import AttemptRow

router = APIRouter(prefix="/experiments", tags=["experiments"])
MARKDOWN = "text/markdown"


class AttemptUsage(BaseModel):
    """What an attempt that succeeded took; null where nobody measured it."""

    model_config = ConfigDict(from_attributes=True)

    memory_bytes: int | None
    gpu_memory_bytes: int | None
    disk_bytes: int | None


class Attempt(BaseModel):
    """One execution of a stage; `environment` is the place, from 0, of what it ran in among `environments`."""

    number: int
    state: str
    cause: str | None
    message: str | None
    exit_code: int | None
    worker_id: str
    device: str
    environment: int | None
    usage: AttemptUsage
    started_at: datetime
    finished_at: datetime | None
    seconds: float | None

    @classmethod
    def of(cls, row: AttemptRow, environment: int | None) -> Self:
        """Shape a row of the attempt table."""
        own = {"environment", "usage", "seconds"}
        return cls(
            **{name: getattr(row, name) for name in cls.model_fields.keys() - own},
            environment=environment,
            usage=AttemptUsage.model_validate(row),
            seconds=None if row.finished_at is None else (row.finished_at - row.started_at).total_seconds(),
        )


class StageReport(BaseModel):
    """A stage of the plan, and each attempt at it.

    Attributes:
        reused: whether it was there before the experiment.
        data_wait_ratio: the part of a training's time that it waited for data, 0 to 1; null of other stages.
    """

    key: str
    kind: str
    name: str
    state: StageState
    reused: bool
    inputs: list[str]
    cause: str | None
    message: str | None
    ready_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    data_wait_ratio: float | None
    attempts: list[Attempt]

    @classmethod
    def of(cls, found: report.Attempted) -> Self:
        """Shape a stage."""
        row = found.view.row
        own = {"name", "reused", "inputs", "data_wait_ratio", "attempts"}
        return cls(
            **{name: getattr(row, name) for name in cls.model_fields.keys() - own},
            name=row.label,
            reused=found.view.reused,
            inputs=list(found.view.inputs),
            data_wait_ratio=found.data_wait_ratio,
            attempts=[Attempt.of(*entry) for entry in found.attempts],
        )


class Manifest(BaseModel):
    """What the `index` stage read of a dataset.

    Attributes:
        digest: SHA-256 of lists and clips; null until they are read.
        lists: that of the lists alone.
    """

    model_config = ConfigDict(from_attributes=True)

    dataset: str
    revision: int
    digest: str | None
    lists: str | None
    clips: int | None


class Measure(BaseModel):
    """How a stream is measured: the protocol in a line, and its fields."""

    model_config = ConfigDict(from_attributes=True)

    stream: Stream
    model: str
    source: Source
    uploaded: bool
    protocol: str
    fields: Json


class Environment(BaseModel):
    """In what attempts ran: the code, its libraries, the processor, GPUs with the driver and CUDA's version."""

    model_config = ConfigDict(extra="ignore")

    code: str | None = None
    python: str | None = None
    platform: str | None = None
    cpu: str | None = None
    cores: int | None = None
    libraries: dict[str, str] = {}
    cuda: str | None = None
    driver: str | None = None
    gpus: list[str] = []


class Report(BaseModel):
    """What a run leaves: all that is needed to believe its numbers, or to make them again.

    Attributes:
        code_revision: of the API that took it: a commit, or the version of the installed package.
        manifests: of its dataset, and of others on which weights were trained from which it starts.
        protocols: how each stream is measured.
        deviations: from the paper of its recipe, in words by name.
        environments: each in which an attempt ran, once.
        submission: the shortest body that makes the same spec.
        command: submits it again.
    """

    experiment: ExperimentDetail
    code_revision: str | None
    manifests: list[Manifest]
    protocols: list[Measure]
    deviations: dict[str, str]
    environments: list[Environment]
    stages: list[StageReport]
    results: list[Result]
    submission: Json
    command: str

    @classmethod
    def of(cls, found: report.Report, present: int) -> Self:
        """Shape a report; ``present`` is the number of the dataset's present revision."""
        return cls(
            experiment=ExperimentDetail.of(found.row, found.counts, spec=found.row.spec),
            code_revision=found.row.code_revision,
            manifests=[Manifest.model_validate(entry) for entry in found.manifests],
            protocols=[Measure.model_validate(entry) for entry in found.measures],
            deviations=dict(found.deviations),
            environments=[Environment.model_validate(entry) for entry in found.environments],
            stages=[StageReport.of(entry) for entry in found.stages],
            results=[Result.of(entry, present) for entry in found.results],
            submission=dict(found.body),
            command=found.command,
        )


PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "as JSON, or as a page of Markdown", "content": {MARKDOWN: {"schema": {"type": "string"}}}}
}


@router.get("/{experiment_id}/report", response_model=Report, responses=PAGE)
def report_of(
    experiment_id: Id,
    database: DatabaseDep,
    format: Literal["json", "markdown"] | None = None,  # noqa: A002 - as it stands in the URL
    accept: Annotated[str, Header()] = "*/*",
) -> Response:
    """Return what a run leaves so far; without `format`, `Accept: text/markdown` asks for a page."""
    with database.transaction() as session:
        found = report.report(session, experiment_id)
        _, present = revisions.numbers(session, found.row.dataset)
        shaped = Report.of(found, present)
    if format == "markdown" or (format is None and MARKDOWN in accept):
        return Response(page(shaped.model_dump(mode="json")), media_type=MARKDOWN, headers={"Vary": "Accept"})
    return JSONResponse(shaped.model_dump(mode="json"), headers={"Vary": "Accept"})
