"""What the API answers, as types: for those who read code or have an editor complete it; at run time they are mappings.

A test compares them with the API's own shapes (`GET /openapi.json`), which may have more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from cli.client import Rows

ExperimentState = Literal["queued", "running", "cancelling", "cancelled", "succeeded", "failed"]
StageState = Literal["waiting", "ready", "running", "succeeded", "failed", "cancelled", "evicted"]
SweepState = Literal["running", "finishing", "cancelling", "cancelled", "succeeded", "failed"]
TrialState = Literal["running", "succeeded", "pruned", "failed", "cancelled"]


class Finding(TypedDict):
    """What the linter finds doubtful, in a ``sentence``."""

    code: str
    severity: Literal["refused", "flagged"]
    field: str
    sentence: str


class Progress(TypedDict):
    """How many stages are in which state, and how many there are."""

    stages: dict[StageState, int]
    total: int


class Withdrawal(TypedDict):
    """Why an experiment is on no leaderboard."""

    reason: str
    by: str
    at: str


class Experiment(TypedDict):
    """What was submitted, and how far it is; times are ISO 8601."""

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
    sweep_id: str | None
    trial: int | None
    flags: list[Finding]
    progress: Progress
    reused: int
    created_at: str
    started_at: str | None
    finished_at: str | None


class Seconds(TypedDict):
    """From now on, about so many seconds; ``high`` None where nobody can say how many at the most."""

    low: float
    high: float | None


class ExperimentDetail(Experiment):
    """An experiment with its whole spec, defaults filled in."""

    spec: dict[str, Any]
    time_left_seconds: Seconds | None


class StageProgress(TypedDict):
    """How far a running stage is, in its own units."""

    done: int
    total: int
    unit: str
    message: str


class Stage(TypedDict):
    """A stage in the plan of an experiment."""

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
    summary: dict[str, Any] | None
    started_at: str | None
    finished_at: str | None


class Value(TypedDict):
    """One metric of a result; a share is between 0 and 1, ``std`` is over seeds."""

    value: float
    std: float | None
    confidence_interval: list[float] | None


class Result(TypedDict):
    """What one stream reached; ``split`` None is the mean over splits, ``seed`` None that over seeds."""

    id: int
    stream: str
    source: str
    uploaded: bool
    split: int | None
    seed: int | None
    revision: int
    superseded: bool
    protocol: str
    selected_on_test: bool
    metrics: dict[str, Value]
    categories: dict[str, float] | None
    clips: int | None
    excluded: int
    seeds: int
    missing_splits: list[int]
    flags: list[Finding]
    stage_key: str | None


class Entry(TypedDict):
    """One experiment's place on a leaderboard; shares are between 0 and 1."""

    rank: int | None
    rank_group: int | None
    experiment_id: str
    name: str
    model: str
    network: str
    options: dict[str, Any]
    source: str
    uploaded: bool
    value: float | None
    std: float | None
    confidence_interval: list[float] | None
    splits: dict[str, float]
    split_std: float | None
    missing_splits: list[int]
    seeds: int
    clips: int | None
    excluded: int
    selected_on_test: bool
    varied: dict[str, Any]
    flags: list[Finding]


class Board(TypedDict):
    """A page of a leaderboard."""

    dataset: str
    revision: int
    superseded: bool
    split: str
    stream: str
    metric: str
    protocol: str | None
    vary: list[str]
    other_protocols: dict[str, int]
    other_revisions: dict[str, int]
    rows: Rows[Entry]
    incomplete: list[Entry]
    total: int
    total_incomplete: int
    significance: str | None
    next_cursor: str | None
    published: list[dict[str, Any]] | None


class Estimate(TypedDict):
    """What a stage may take, by ``attempts`` at others of its kind and sizes; None is unknown."""

    attempts: int
    seconds: float | None
    memory_bytes: int | None
    gpu_memory_bytes: int | None
    disk_bytes: int | None


class PlannedStage(TypedDict):
    """A stage that would be planned; one that is ``reused`` has no estimate."""

    key: str
    kind: str
    name: str
    state: StageState | None
    reused: bool
    inputs: list[str]
    estimate: Estimate | None


class DryRun(TypedDict):
    """What an experiment would do."""

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


class SweepTrial(TypedDict):
    """A configuration that a sweep tries; ``value`` is its accuracy, 0 to 1."""

    number: int
    state: TrialState
    values: dict[str, Any]
    value: float | None
    epochs: int
    message: str | None
    experiment_id: str | None
    created_at: str
    finished_at: str | None


class Sweep(TypedDict):
    """A search over the fields of an experiment; ``planned`` trials at the most."""

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
    created_at: str
    finished_at: str | None


class BestExperiment(TypedDict):
    """The best configuration, trained as a whole."""

    id: str
    name: str
    state: ExperimentState


class SweepDetail(Sweep):
    """A sweep with its trials by number, and the share of each field in what is explained."""

    spec: dict[str, Any]
    base: dict[str, Any]
    results: Rows[SweepTrial]
    importance: dict[str, float]
    best: BestExperiment | None
    gpu_hours: float


class SweepDryRun(TypedDict):
    """What a sweep would do: its first ``trial``, the ``best``, and what all of it may take."""

    name: str
    dataset: str
    recipe: str | None
    spec: dict[str, Any]
    trials: int
    points: int | None
    values: dict[str, Any]
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
