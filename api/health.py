"""Health: whether the process answers, and whether its stores do."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.deps import BrokerDep, DatabaseDep

router = APIRouter(prefix="/health", tags=["health"])


class Health(BaseModel):
    """All is well; anything else is a problem document."""

    status: Literal["ok"] = "ok"


@router.get("/live")
async def live() -> Health:
    """Answer while the process runs."""
    return Health()


@router.get("/ready")
def ready(database: DatabaseDep, broker: BrokerDep) -> Health:
    """Answer while Postgres and Redis do; else 503 with the address of the one that is away."""
    database.ping()
    broker.ping()
    return Health()
