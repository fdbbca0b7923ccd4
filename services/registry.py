"""The datasets that experiments may name; `motion_shapes` is there from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.api_keys import ADMINISTRATOR, Caller
from services.datasets.layouts import LAYOUTS, Layout
from services.datasets.motion_shapes import MotionShapesParams
from services.db.tables import DatasetRow
from services.errors import Conflict, InvalidRequest, NotFound
from services.plan import index_params
from services.specs import ExperimentSpec
from services.stages import IndexParams

GENERATED = "motion_shapes"


def add_generated(session: Session) -> None:
    """Register `motion_shapes` where it is not yet."""
    values = {"name": GENERATED, "generator": MotionShapesParams().model_dump(), "num_classes": 8}
    session.execute(insert(DatasetRow).values(values).on_conflict_do_nothing())


def add(
    session: Session,
    *,
    name: str,
    root: str,
    annotations: str,
    layout: Layout = "ucf101",
    splits: Sequence[int] = (1, 2, 3),
    replace: bool = False,
    caller: Caller = ADMINISTRATOR,
) -> DatasetRow:
    """Register a folder of clips and its lists; the `index` stage of its first experiment reads them.

    Args:
        session: a transaction of the caller.
        name: what experiments call it.
        root: folder of the clips, as the workers see it.
        annotations: folder of the lists, as the workers see it.
        layout: how the lists are laid out, ``ucf101`` or ``hmdb51``.
        splits: numbers of the splits that have lists; a mean is ranked over all of them.
        replace: registers a name anew, so that its files are read again.
        caller: owns the dataset from now on, or owns it already.

    Raises:
        Forbidden: the name is taken by somebody else's dataset, which is to be replaced.
        Conflict: the name is taken and ``replace`` is not set.
        InvalidRequest: unknown layout, empty folder name, or a generated dataset's name.
    """
    if layout not in LAYOUTS:
        raise InvalidRequest("layout", layout, ", ".join(LAYOUTS))
    if name == GENERATED:
        raise InvalidRequest("name", name, f"any name but {GENERATED!r}, which is generated")
    for field, folder in (("root", root), ("annotations", annotations)):
        if not folder.startswith("/"):
            raise InvalidRequest(field, folder, "the absolute path of a folder")
    values = {"name": name, "root": root, "annotations": annotations, "layout": layout, "splits": sorted(splits)}
    values["owner"] = caller.name
    query = insert(DatasetRow).values(values).on_conflict_do_nothing().returning(DatasetRow.name)
    added = session.scalar(query) is not None
    row = session.scalars(select(DatasetRow).where(DatasetRow.name == name).with_for_update()).one()
    if added:
        return row
    if not replace:
        raise Conflict(
            f"dataset {name!r} exists with root {row.root!r}; hint: replace it, and its files are read again"
        )
    caller.require_owned(f"dataset {name!r}", row.owner)
    row.root, row.annotations, row.layout, row.revision = root, annotations, layout, row.revision + 1
    row.num_classes, row.num_clips, row.splits = None, None, sorted(splits)
    return row


def get(session: Session, name: str) -> DatasetRow:
    """Return a dataset, or raise ``NotFound``."""
    row = session.get(DatasetRow, name)
    if row is None:
        raise NotFound("dataset", name, f"one of {', '.join(entry.name for entry in listing(session))}")
    return row


def chosen(session: Session, name: str) -> DatasetRow:
    """Return the dataset that a request's field ``dataset`` names.

    Raises:
        InvalidRequest: no dataset has that name.
    """
    row = session.get(DatasetRow, name)
    if row is None:
        raise InvalidRequest("dataset", name, ", ".join(entry.name for entry in listing(session)))
    return row


def listing(session: Session) -> list[DatasetRow]:
    """Return all datasets by name."""
    return list(session.scalars(select(DatasetRow).order_by(DatasetRow.name)))


def note_index(session: Session, params: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Remember what the `index` stage of a dataset's present revision found."""
    query = update(DatasetRow).where(DatasetRow.name == params["dataset"], DatasetRow.revision == params["revision"])
    session.execute(query.values(num_classes=summary.get("classes"), num_clips=summary.get("clips")))


def index_params_for(session: Session, spec: ExperimentSpec) -> IndexParams:
    """Return the parameters of the `index` stage of the dataset that a spec names.

    Raises:
        InvalidRequest: no dataset has that name, or it lacks a split.
    """
    row = chosen(session, spec.dataset)
    for place, split in enumerate(spec.splits):
        if split not in row.splits:
            raise InvalidRequest(f"splits.{place}", split, ", ".join(map(str, row.splits)))
    return index_params(
        row.name,
        layout=row.layout,
        root=row.root,
        annotations=row.annotations,
        revision=row.revision,
        generator=row.generator,
    )
