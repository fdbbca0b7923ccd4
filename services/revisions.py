"""The revisions of datasets: numbers that were measured on other lists or clips are told apart.

A registration makes a revision. What it holds is known by hash: of the lists, once the API or the `index` stage has
read them, and of lists and clips together, once the `index` stage has read those. Revisions whose lists and clips have
one hash hold the same data, and results count as those of the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from services.datasets.lists import Lists
from services.db.tables import DatasetRevisionRow, DatasetRow, StageRow


@dataclass(frozen=True)
class Revision:
    """What an experiment was measured on.

    Attributes:
        number: of the first revision of the dataset with these lists and clips.
        splits: over which a mean is taken.
        excluded: how many listed clips are left out.
        shared: of each clip that two splits or more test on, its place among their test clips in the order of ids, by
            split; None where that is not known.
    """

    number: int
    splits: tuple[int, ...]
    excluded: int
    shared: tuple[dict[int, int], ...] | None


def register(
    session: Session,
    dataset: DatasetRow,
    lists: Lists | None = None,
    shared: Sequence[Mapping[int, int]] | None = None,
) -> None:
    """Write down what a dataset's present revision is, as far as its lists say, or ``shared`` in place of them."""
    values: dict[str, Any] = {"splits": list(dataset.splits), "excluded": len(dataset.excluded)}
    if lists is not None:
        values["lists_digest"], shared = lists.digest, lists.annotations.shared_test_clips()
    if shared is not None:
        values["shared"] = _stored(shared)
    _upsert(session, dataset.name, dataset.revision, values)


def note_index(session: Session, params: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Write down what the `index` stage of a revision has read.

    Where its clips or lists are not those that an earlier `index` stage of the same revision had found, files were
    changed in place: what was found now is another revision, the dataset's present one.
    """
    name, number, digest = params["dataset"], params["revision"], summary["digest"]
    dataset = session.get(DatasetRow, name)
    if dataset is None:
        return
    values = {
        "splits": list(params.get("splits") or dataset.splits),
        "excluded": len(params.get("exclude") or ()),
        "lists_digest": summary["lists"],
        "shared": summary["shared"],
        "digest": digest,
    }
    known = _row(session, name, number)
    if known is not None and known.digest not in (None, digest):
        if _first_with(session, name, digest) is not None:
            return
        session.refresh(dataset, with_for_update=True)
        number = dataset.revision = dataset.revision + 1
    _upsert(session, name, number, values)


def lists_digest(session: Session, dataset: DatasetRow) -> str | None:
    """Return the hash of the lists of a dataset's present revision, or None where nobody has read them yet."""
    row = _row(session, dataset.name, dataset.revision)
    return None if row is None else row.lists_digest


def splits_to_check(session: Session, dataset: DatasetRow) -> tuple[int, ...]:
    """Return the splits that a dataset's `index` stage must find; none where an earlier version registered it."""
    row = _row(session, dataset.name, dataset.revision)
    return () if row is None or dataset.generator is not None else tuple(sorted(row.splits))


def numbers(session: Session, name: str) -> tuple[int, int]:
    """Return the number of a dataset's latest revision, and that under which its data is ranked.

    A name that nothing has is ranked as a first revision.
    """
    row = session.execute(NUMBERS, {"name": name}).one_or_none()
    return (1, 1) if row is None else (row[0], row[0] if row[1] is None else row[1])


def first_like(session: Session, name: str, number: int) -> int:
    """Return the first revision whose lists and clips have the hash of one's; itself while that is not known."""
    found = session.scalar(_first_like(name, number))
    return number if found is None else found


def _first_like(name: InstrumentedAttribute[str] | str, number: InstrumentedAttribute[int] | int) -> Select[int | None]:
    own, other = aliased(DatasetRevisionRow), aliased(DatasetRevisionRow)
    return (
        select(func.min(other.revision))
        .join(own, (own.dataset == other.dataset) & (own.digest == other.digest))
        .where(own.dataset == name, own.revision == number)
    )


_FIRST = _first_like(DatasetRow.name, DatasetRow.revision).correlate(DatasetRow).scalar_subquery()
NUMBERS = select(DatasetRow.revision, _FIRST).where(DatasetRow.name == bindparam("name"))
"""Built once: to build it takes longer than to run it."""


def measured_on(session: Session, name: str, index: StageRow | None) -> Revision:
    """Return what an experiment was measured on, by the `index` stage of its plan."""
    params: Mapping[str, Any] = {} if index is None else index.params
    number = params.get("revision", 1)
    digest = None if index is None else (index.summary or {}).get("digest")
    first = _first_with(session, name, digest) if digest else None
    number = first if first is not None else first_like(session, name, number)
    found = known(session, name, number)
    if found is not None:
        return found
    dataset = session.get(DatasetRow, name)
    splits = params.get("splits") or (() if dataset is None else dataset.splits)
    return Revision(number, tuple(sorted(splits)), len(params.get("exclude") or ()), None)


def known(session: Session, name: str, number: int) -> Revision | None:
    """Return what a revision of a dataset holds; None where nobody wrote it down."""
    row = _row(session, name, number)
    return None if row is None else Revision(number, tuple(sorted(row.splits)), row.excluded, _read(row.shared))


def numbered(session: Session, name: str, number: int) -> Revision:
    """Return a revision of a dataset by its number, as far as it is known."""
    dataset = session.get(DatasetRow, name)
    found = known(session, name, number)
    return found or Revision(number, () if dataset is None else tuple(sorted(dataset.splits)), 0, None)


def history(session: Session, name: str) -> list[DatasetRevisionRow]:
    """Return the revisions of a dataset, the present one first."""
    query = select(DatasetRevisionRow).where(DatasetRevisionRow.dataset == name)
    return list(session.scalars(query.order_by(DatasetRevisionRow.revision.desc())))


def survey(session: Session, name: str) -> StageRow | None:
    """Return the latest `index` stage that has read a dataset, or has tried to."""
    query = select(StageRow).where(
        StageRow.kind == literal_column("'index'"),  # as `ix_stage_data` has it: a bound value would not do
        StageRow.params["dataset"].astext == name,
        StageRow.finished_at.is_not(None),
    )
    return session.scalars(query.order_by(StageRow.finished_at.desc()).limit(1)).first()


def _first_with(session: Session, name: str, digest: str) -> int | None:
    same = (DatasetRevisionRow.dataset == name, DatasetRevisionRow.digest == digest)
    return session.scalar(select(func.min(DatasetRevisionRow.revision)).where(*same))


def _upsert(session: Session, name: str, number: int, values: Mapping[str, Any]) -> None:
    query = insert(DatasetRevisionRow).values({"dataset": name, "revision": number, **values})
    session.execute(query.on_conflict_do_update(index_elements=["dataset", "revision"], set_=dict(values)))


def _row(session: Session, name: str, number: int) -> DatasetRevisionRow | None:
    """Return a revision's row as it is now, also after an upsert in the same transaction."""
    return session.get(DatasetRevisionRow, (name, number), populate_existing=True)


def _stored(shared: Sequence[Mapping[int, int]]) -> list[dict[str, int]]:
    return [{str(split): place for split, place in places.items()} for places in shared]


def _read(shared: Sequence[Mapping[str, int]] | None) -> tuple[dict[int, int], ...] | None:
    if shared is None:
        return None
    return tuple({int(split): place for split, place in places.items()} for places in shared)
