"""Health: whether the process answers, whether its stores do, and how the fleet is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from anyio import fail_after, to_thread
from fastapi import APIRouter, HTTPException, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, ConfigDict

from api.deps import Backend, BackendDep, DatabaseDep
from services import chores
from services.errors import Unavailable
from services.journal import tracker_state
from services.queue import fleet
from services.queue.housekeeping import SWEEP

ASK_SECONDS = 5.0
"""How long the stores may take to answer; a probe waits no longer."""

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """All is well; anything else is a problem document."""

    status: Literal["ok"] = "ok"


class Tracker(BaseModel):
    """How it stands with MLflow, which nothing waits for: `held` while it takes nothing, and why.

    `waiting` counts what it has yet to hear.
    """

    model_config = ConfigDict(from_attributes=True)

    state: Literal["ok", "held"]
    since: datetime | None
    message: str | None
    waiting: int


class Readiness(Health):
    """Postgres and Redis answer, and the fleet is swept.

    Attributes:
        sweep_age_seconds: time since a sweep of any API process succeeded; null before the first.
        tracker: null where there is no MLflow.
    """

    sweep_age_seconds: float | None
    tracker: Tracker | None


@router.get("/health/live")
async def live() -> Health:
    """Answer while the process runs."""
    return Health()


@router.get("/health/ready")
async def ready(backend: BackendDep) -> Readiness:
    """Answer while Postgres and Redis do and housekeeping is alive; else 503 with what is not.

    A probe has threads and a connection of its own: it waits for no other request.
    """
    try:
        with fail_after(ASK_SECONDS):
            return await to_thread.run_sync(_ask, backend, abandon_on_cancel=True, limiter=backend.probes)
    except TimeoutError:
        raise HTTPException(503, f"Postgres or Redis does not answer within {ASK_SECONDS:g} s") from None


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(database: DatabaseDep) -> Response:
    """Return the state of the fleet in Prometheus' text format."""
    with database.transaction() as session:
        found = fleet.census(session)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(found))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Gauges(Collector):
    """One census as gauges."""

    def __init__(self, census: fleet.Census) -> None:
        self._census = census

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        census = self._census
        if census.sweep_age_seconds is not None:
            about = "Time since housekeeping last swept the fleet"
            yield GaugeMetricFamily("twostream_sweep_age_seconds", about, census.sweep_age_seconds)
        yield _counted("twostream_experiments", "Experiments", ("state",), census.experiments)
        yield _counted("twostream_stages", "Stages", ("queue", "state"), census.stages)
        yield _counted("twostream_workers", "Workers", ("state",), census.workers)
        yield GaugeMetricFamily("twostream_outbox_rows", "Rows that MLflow has yet to hear", census.tracker.waiting)
        held = census.tracker.state == "held"
        yield GaugeMetricFamily("twostream_tracker_held", "Whether MLflow takes nothing", held)
        if census.backfill is not None:
            left, about = census.backfill.of - census.backfill.after, "Old results whose hits are yet to be looked at"
            yield GaugeMetricFamily("twostream_results_to_backfill", about, left)
        about = "Age of the oldest row that MLflow has yet to hear"
        yield GaugeMetricFamily("twostream_outbox_age_seconds", about, census.untold_seconds)


def _counted(
    name: str, about: str, labels: tuple[str, ...], counts: dict[str, int] | dict[tuple[str, str], int]
) -> Metric:
    gauge = GaugeMetricFamily(name, about, labels=labels)
    for key, number in counts.items():
        gauge.add_metric((key,) if isinstance(key, str) else key, number)
    return gauge


def _ask(backend: Backend) -> Readiness:
    """Ask the stores, or raise ``Unavailable``."""
    with backend.probe.transaction() as session:
        age = chores.age_seconds(session, SWEEP)
        tracker = Tracker.model_validate(tracker_state.view(session)) if backend.settings.mlflow_url else None
    backend.broker.ping()
    limit = fleet.OVERDUE_SWEEPS * backend.settings.sweep_seconds
    if backend.up_seconds > limit and (age is None or age > limit):
        when = "never" if age is None else f"{age:.0f} s ago"
        raise Unavailable(f"housekeeping: last swept {when}, allowed: {limit:g} s; the log of the API says why")
    return Readiness(sweep_age_seconds=age, tracker=tracker)
