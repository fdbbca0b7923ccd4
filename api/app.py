"""The application: `create_app` is the factory that uvicorn calls."""

from __future__ import annotations

import gc
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import (
    bundles,
    cache,
    catalogue,
    compare,
    datasets,
    edits,
    ensembles,
    experiments,
    figures,
    fusion,
    health,
    keys,
    leaderboard,
    papers,
    problems,
    queue,
    registration,
    report,
    results,
    scores,
    stream,
    sweeps,
    usage,
)
from api.authentication import Reader
from api.deps import Backend
from api.limits import BodyLimit
from api.methods import HeadAndOptions
from api.origins import HomeOnly
from api.parameters import KnownParameters
from api.startup import PlainStartup
from api.summaries import summarise
from api.tail import Tail
from api.web import (
    assets,
    catalogue_pages,
    compare_pages,
    dataset_pages,
    documents,
    experiment_pages,
    pages,
    paper_pages,
    queue_pages,
    sweep_pages,
)
from api.web.negotiation import Vary
from services import registry
from services.db.engine import Database
from services.errors import Unavailable
from services.queue import quotas
from services.queue.housekeeping import Housekeeper
from services.settings import Settings, load
from services.stores.broker import Broker
from services.sweeps.conductor import Conductor

PAGES = (experiment_pages, queue_pages, catalogue_pages, dataset_pages, paper_pages, compare_pages, sweep_pages)
"""At addresses that answer JSON too: they come first, and match for browsers alone."""
ROUTERS = (
    *PAGES,
    experiments,
    edits,
    report,
    figures,
    fusion,
    ensembles,
    bundles,
    registration,
    stream,
    leaderboard,
    results,
    compare,
    papers,
    sweeps,
    catalogue,
    datasets,
    scores,
    cache,
    queue,
    usage,
    keys,
    pages,
)
OPEN_ROUTERS = (health, documents, assets)
"""Read without a token, whatever the setting says: they tell nothing about anybody's work."""
THREADS = 16
"""Requests that work at once; each needs one connection of the database."""

PROBES, PROBE_SECONDS = 2, 2.0
"""Health checks that ask at once, and how long Postgres may take to answer one."""

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application.

    Args:
        settings: from the environment when None; needs addresses of Postgres and Redis.
    """
    settings = settings or load()
    app = FastAPI(
        title="twostream",
        summary="Distributed training of two-stream temporal action-recognition networks",
        lifespan=_lifespan(settings),
        dependencies=[KnownParameters],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=problems.RESPONSES,
    )
    app.docs_url, app.openapi_url = documents.DOCS, documents.OPENAPI  # routes of ours, under the rules of all
    app.state.open_streams = Counter()
    problems.install(app)
    for module in (*ROUTERS, *OPEN_ROUTERS):
        summarise(module.router)
    for module in ROUTERS:
        app.include_router(module.router, dependencies=[Reader])
    for module in OPEN_ROUTERS:
        app.include_router(module.router)
    app.add_middleware(Vary)
    app.add_middleware(BodyLimit)
    app.add_middleware(HeadAndOptions)
    app.add_middleware(HomeOnly, settings=settings)
    app.add_middleware(PlainStartup)
    return app


def _lifespan(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        backend = await run_in_threadpool(connect, settings)
        housekeeper = Housekeeper(settings, backend.database, backend.broker)
        conductor = Conductor(settings, backend.database, backend.broker)
        app.state.backend = backend
        app.state.tail = Tail(backend.database, backend.foresight)
        housekeeper.start()
        conductor.start()
        try:
            with frozen_heap():
                yield {"closing": threading.Event()}  # set by our server, `cli/stack/serve.py`, when it is to stop
        finally:
            await run_in_threadpool(conductor.stop)
            await run_in_threadpool(housekeeper.stop)
            await run_in_threadpool(disconnect, backend)

    return lifespan


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Spare requests the search for garbage among the 10^5 objects of the start: up to 0.1 s, now and then."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def connect(settings: Settings) -> Backend:
    """Open the stores.

    Raises:
        Unavailable: Postgres or Redis is away, or its address is not set.
    """
    if settings.database_url is None or settings.redis_url is None:
        raise Unavailable("TWOSTREAM_DATABASE_URL and TWOSTREAM_REDIS_URL: not set; hint: `twostream up` sets both")
    backend = Backend(
        settings,
        Database(settings.database_url, THREADS, settings.patience_seconds),
        Broker(settings.redis_url),
        probe=Database(settings.database_url, PROBES, PROBE_SECONDS),
        probes=CapacityLimiter(PROBES),
    )
    try:
        backend.broker.ping()
        backend.database.run(registry.add_generated)
        backend.database.run(registry.note_lists)
        backend.database.run(lambda session: quotas.replace(session, settings.quotas))
    except Unavailable:
        disconnect(backend)
        raise
    log.info("stores answer", extra={"postgres": backend.database.address, "redis": backend.broker.address})
    return backend


def disconnect(backend: Backend) -> None:
    """Close the stores."""
    backend.broker.close()
    backend.database.close()
    backend.probe.close()
