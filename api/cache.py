"""What stages left on disk, and dropping what nobody needs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from api.authentication import StewardOnly
from api.deps import BackendDep, JsonBody
from api.field_errors import body_of, checked
from services.cache.collection import Collector
from services.cache.inventory import BY_DEFAULT, CATEGORIES, Category, Entry, listed, only, total_bytes
from services.cache.sizes import ALLOWED, MAX_BYTES, PATTERN, parse_bytes
from services.settings import Settings
from services.stores.artifacts import open_store

router = APIRouter(prefix="/cache", tags=["cache"])

ASK = "dropped only by a collection that names its kind"

SIZES = [{"type": "integer", "minimum": 0, "maximum": MAX_BYTES}, {"type": "string", "pattern": PATTERN}]
Size = Annotated[int, BeforeValidator(parse_bytes), WithJsonSchema({"description": ALLOWED, "anyOf": SIZES})]


class CacheEntry(BaseModel):
    """What is kept or dropped as one: an output of a stage, mostly; `count` clip files stand in one entry."""

    kind: Category
    key: str
    label: str
    bytes: int
    count: int
    used_at: datetime
    experiments: list[str]
    droppable: bool
    reason: str | None

    @classmethod
    def of(cls, entry: Entry) -> CacheEntry:
        """Shape an entry; `reason` says why it is not dropped, or when only."""
        return cls(
            kind=entry.category,
            key=entry.key,
            label=entry.label,
            bytes=entry.bytes,
            count=entry.count,
            used_at=entry.used_at,
            experiments=list(entry.experiments),
            droppable=entry.held is None and entry.category in BY_DEFAULT,
            reason=entry.held or (None if entry.category in BY_DEFAULT else ASK),
        )


class Cache(BaseModel):
    """Everything that stages left, unused for longest first; a file with several names is counted once."""

    entries: list[CacheEntry]
    bytes: int
    bytes_by_kind: dict[Category, int]


class Collection(BaseModel):
    """How much may stay, and kinds to take from; when none is named, what can be made again without any result."""

    model_config = ConfigDict(extra="forbid")

    max_size: Size
    kinds: Annotated[list[Category], Field(max_length=len(CATEGORIES))] = []
    dry_run: bool = False


class CollectionReport(BaseModel):
    """What was dropped, or would be; `more` asks for the same request again, `fits` says whether the rest fits."""

    dry_run: bool
    max_bytes: int
    before_bytes: int
    after_bytes: int
    freed_bytes: int
    fits: bool
    more: bool
    taken: list[CacheEntry]


def request_seconds() -> float:
    """Return after how long a collection answers with `more`, to go on when it is asked again."""
    return 10.0


@router.get("")
def listing(backend: BackendDep, kind: Category | None = None) -> Cache:
    """List what stages left on disk, and what of it may be dropped."""
    inventory = _collector(backend.settings, backend).take_stock()
    entries = inventory.entries if kind is None else only(inventory, (kind,)).entries
    by_kind: dict[Any, int] = {name: total_bytes(only(inventory, (name,)).entries) for name in CATEGORIES}
    return Cache(
        entries=[CacheEntry.of(entry) for entry in listed(entries)],
        bytes=total_bytes(entries),
        bytes_by_kind={name: size for name, size in by_kind.items() if size and kind in (None, name)},
    )


@router.post(
    "/gc", dependencies=[StewardOnly], openapi_extra=body_of(Collection, {"max_size": "200GB", "dry_run": True})
)
def collect(
    body: JsonBody, backend: BackendDep, seconds: Annotated[float, Depends(request_seconds)]
) -> CollectionReport:
    """Drop what was unused for longest until the rest fits; what a stage that waits or runs needs stays."""
    wanted = checked(Collection, body)
    done = _collector(backend.settings, backend).collect(
        wanted.max_size, wanted.kinds, dry_run=wanted.dry_run, seconds=seconds
    )
    return CollectionReport(
        dry_run=wanted.dry_run,
        max_bytes=wanted.max_size,
        before_bytes=done.before,
        after_bytes=done.after,
        freed_bytes=done.before - done.after,
        fits=done.after <= wanted.max_size,
        more=done.more,
        taken=[CacheEntry.of(entry) for entry in listed(done.taken)],
    )


def _collector(settings: Settings, backend: BackendDep) -> Collector:
    return Collector(
        backend.database,
        open_store(settings),
        settings.data,
        grace_seconds=settings.cache_grace_seconds,
        tracked=settings.mlflow_url is not None,
    )
