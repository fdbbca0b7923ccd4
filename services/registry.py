"""The datasets that experiments may name; `motion_shapes` is there from the start."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services import revisions
from services.api_keys import ADMINISTRATOR, Caller
from services.datasets.box_file import digest_of
from services.datasets.checkup import Checkup
from services.datasets.layouts import LAYOUTS, Layout
from services.datasets.lists import Lists, read_digest, read_lists
from services.datasets.motion_shapes import MotionShapesParams
from services.db.engine import Database
from services.db.tables import DatasetCheckRow, DatasetRow
from services.errors import Conflict, DataError, InvalidRequest, NotFound, nearest
from services.params import BoxFile
from services.specs import EnsembleSpec, ExperimentSpec
from services.stages import IndexParams
from services.words import counted

GENERATED = "motion_shapes"


def add_generated(session: Session) -> None:
    """Register `motion_shapes` where it is not yet; its splits test on different groups of clips."""
    values = {"name": GENERATED, "generator": MotionShapesParams().model_dump(), "num_classes": 8}
    session.execute(insert(DatasetRow).values(values).on_conflict_do_nothing())
    revisions.register(session, get(session, GENERATED), shared=())


def look(layout: Layout, annotations: str, exclude: Sequence[str]) -> Lists | None:
    """Read the lists of a dataset that is to be registered; None where this host has no such folder.

    Call it outside a transaction: it reads files.

    Raises:
        InvalidRequest: a list is wrong, or names no clip of ``exclude``.
    """
    if not annotations.startswith("/"):  # `add` refuses it
        return None
    try:
        lists = read_lists(layout, annotations)
    except DataError as error:
        raise InvalidRequest("annotations", annotations, f"a folder of lists in layout {layout}; {error}") from error
    if lists is None or not exclude:
        return lists
    named = {clip.path for clip in lists.annotations.named_clips()}
    for place, path in enumerate(exclude):
        if path not in named:
            raise InvalidRequest(f"exclude.{place}", path, f"a clip that a list in {annotations} names")
    try:
        return read_lists(layout, annotations, exclude)
    except DataError as error:
        raise InvalidRequest("exclude", counted(len(exclude), "clip"), f"some of the listed clips; {error}") from error


def look_at_boxes(boxes: str) -> str | None:
    """Return the hash of a dataset's file of boxes; None where there is none, or this host does not have it.

    The file is not unpickled here, in the process of everybody's requests: the command and the stage do that.

    Raises:
        InvalidRequest: the file is missing from a folder that is there, or cannot be one of boxes.
    """
    if not boxes:
        return None
    try:
        return digest_of(Path(boxes))
    except DataError as error:
        raise InvalidRequest("boxes", boxes, f"a file of boxes of UCF101-24; {error}") from error


def add(
    session: Session,
    *,
    name: str,
    root: str,
    annotations: str,
    layout: Layout = "ucf101",
    splits: Collection[int] | None = None,
    exclude: Sequence[str] = (),
    boxes: str = "",
    replace: bool = False,
    lists: Lists | None = None,
    boxes_digest: str | None = None,
    caller: Caller = ADMINISTRATOR,
) -> DatasetRow:
    """Register a folder of clips and its lists; the `index` stage of its first experiment reads them.

    Args:
        session: a transaction of the caller.
        name: what experiments call it.
        root: folder of the clips, as the workers see it.
        annotations: folder of the lists, as the workers see it.
        layout: how the lists are laid out, ``ucf101`` or ``hmdb51``.
        splits: over which a mean is taken; those that the lists have where this is None, 1 to 3 if they are not seen.
        exclude: paths of listed clips to leave out.
        boxes: file of the actions' boxes, as the workers see it; empty for none.
        replace: registers a name anew, so that its files are read again.
        lists: what `look` returned.
        boxes_digest: what `look_at_boxes` returned.
        caller: owns the dataset from now on, or owns it already.

    Raises:
        Forbidden: the name is that of another user's dataset, which is to be replaced.
        Conflict: the name is taken and ``replace`` is not set.
        InvalidRequest: unknown layout, empty folder name, a split without lists, or a generated dataset's name.
    """
    if layout not in LAYOUTS:
        raise InvalidRequest("layout", layout, ", ".join(LAYOUTS))
    if name == GENERATED:
        raise InvalidRequest("name", name, f"any name but {GENERATED!r}, which is generated")
    for field, folder in (("root", root), ("annotations", annotations)):
        if not folder.startswith("/"):
            raise InvalidRequest(field, folder, "the absolute path of a folder")
    values: dict[str, Any] = {"root": root, "annotations": annotations, "layout": layout, "owner": caller.name}
    values |= {"boxes": boxes, "boxes_digest": boxes_digest}
    values |= {"splits": _splits(splits, lists), "excluded": sorted(set(exclude)), **_counts(lists)}
    added = session.scalar(
        insert(DatasetRow).values({"name": name, **values}).on_conflict_do_nothing().returning(DatasetRow.name)
    )
    row = session.scalars(select(DatasetRow).where(DatasetRow.name == name).with_for_update(key_share=True)).one()
    if added is None:
        if not replace:
            raise Conflict(
                f"dataset {name!r} exists with root {row.root!r}; hint: replace it, and its files are read again"
            )
        caller.require_owned(f"dataset {name!r}", row.owner)
        _replace(row, values | {"owner": row.owner})
    session.flush()
    revisions.register(session, row, lists)
    return row


Seen = str | DataError | None
"""What a look at a dataset's lists gave: their hash, why they cannot be read, or None where nobody can look."""


def look_again(database: Database, name: str) -> Seen:
    """Read the hash of a dataset's lists as they are now, beside any transaction; an unknown name is left to others."""
    with database.transaction() as session:
        row = session.get(DatasetRow, name)
    if row is None or row.generator is not None:
        return None
    try:
        return read_digest(_layout(row), row.annotations)
    except DataError as error:
        return error


def refresh(database: Database, name: str, caller: Caller = ADMINISTRATOR) -> None:
    """Register a dataset anew, as its next revision, if its lists have changed since.

    Raises:
        Forbidden: it belongs to another user.
        InvalidRequest: no dataset has that name, the lists are wrong, or lack a split or a clip that is left out.
    """
    seen = look_again(database, name)
    with database.transaction() as session:
        row = chosen(session, name)
        if not _changed(session, row, seen):
            return
        caller.require_owned(f"dataset {name!r}", row.owner)
    lists = look(_layout(row), row.annotations, row.excluded)
    if lists is not None:
        database.run(lambda session: _register_anew(session, name, lists))


def _register_anew(session: Session, name: str, lists: Lists) -> None:
    query = select(DatasetRow).where(DatasetRow.name == name).with_for_update(key_share=True)
    row = session.scalars(query).one()
    if revisions.lists_digest(session, row) != lists.digest:
        _replace(row, {"splits": _splits(row.splits, lists), **_counts(lists)})
        session.flush()
        revisions.register(session, row, lists)


def require_unchanged(session: Session, name: str, seen: Seen) -> None:
    """Refuse a dataset whose lists have changed since its present revision was registered.

    What the API cannot see, and what nobody has read yet, is taken for unchanged.

    Args:
        session: a transaction of the caller.
        name: of the dataset.
        seen: what `look_again` returned, before the transaction began.

    Raises:
        Conflict: the lists have changed, or can no longer be read.
    """
    row = chosen(session, name)
    if not _changed(session, row, seen):
        return
    if isinstance(seen, DataError):
        raise Conflict(f"dataset {name!r}: its lists have changed since they were registered: {seen}")
    raise Conflict(
        f"dataset {name!r}: the lists in {row.annotations} have changed since revision {row.revision} was"
        " registered; hint: submit with `refresh: true`, or register the dataset with `replace`, and what is"
        " measured from then on is ranked as another revision"
    )


def has_changed(session: Session, name: str, seen: Seen) -> bool:
    """Tell whether the lists of the dataset of that name have changed since its present revision was registered."""
    return _changed(session, chosen(session, name), seen)


def _changed(session: Session, row: DatasetRow, seen: Seen) -> bool:
    known = None if seen is None else revisions.lists_digest(session, row)
    return known is not None and seen != known


def note_lists(session: Session) -> None:
    """Read the lists of datasets whose lists nobody has read, such as those that an earlier version registered.

    One that was registered with splits that have no lists stays unread: experiments on its other splits go on.
    """
    for row in listing(session):
        if row.generator is None and revisions.lists_digest(session, row) is None:
            try:
                lists = read_lists(_layout(row), row.annotations, row.excluded)
            except DataError:  # the `index` stage says so to whoever uses them
                continue
            if lists is not None and set(row.splits) <= lists.annotations.splits.keys():
                revisions.register(session, row, lists)


def find(session: Session, name: str) -> DatasetRow | None:
    """Return the dataset of that name, or None."""
    return session.get(DatasetRow, name)


def get(session: Session, name: str) -> DatasetRow:
    """Return a dataset, or raise ``NotFound``."""
    row = session.get(DatasetRow, name)
    if row is None:
        raise NotFound("dataset", name, nearest(name, (entry.name for entry in listing(session))))
    return row


def chosen(session: Session, name: str) -> DatasetRow:
    """Return the dataset that a request's field ``dataset`` names.

    Raises:
        InvalidRequest: no dataset has that name.
    """
    row = session.get(DatasetRow, name)
    if row is None:
        raise InvalidRequest("dataset", name, nearest(name, (entry.name for entry in listing(session))))
    return row


def listing(session: Session) -> list[DatasetRow]:
    """Return all datasets by name."""
    return list(session.scalars(select(DatasetRow).order_by(DatasetRow.name)))


def note_check(session: Session, name: str, revision: int, found: Checkup, caller: Caller) -> DatasetCheckRow:
    """Keep what the doctor found in a revision of a dataset, in place of what was found in it before.

    Raises:
        Forbidden: it is another user's dataset.
        InvalidRequest: the dataset has no such revision, or is generated, and has no files that change.
        NotFound: no dataset has that name.
    """
    row = get(session, name)
    caller.require_owned(f"dataset {name!r}", row.owner)
    if row.generator is not None:
        raise InvalidRequest("name", name, "a dataset with folders; this one is generated")
    if not 1 <= revision <= row.revision:
        raise InvalidRequest("revision", revision, f"1 to {row.revision}")
    values = {"found": found.model_dump(mode="json"), "checked_by": caller.name, "checked_at": func.clock_timestamp()}
    query = insert(DatasetCheckRow).values({"dataset": name, "revision": revision, **values})
    keys = ["dataset", "revision"]
    session.execute(query.on_conflict_do_update(index_elements=keys, set_=values))
    return session.get_one(DatasetCheckRow, (name, revision), populate_existing=True)


def latest_check(session: Session, name: str) -> DatasetCheckRow | None:
    """Return what the doctor found in the latest revision that it has seen."""
    query = select(DatasetCheckRow).where(DatasetCheckRow.dataset == name)
    return session.scalars(query.order_by(DatasetCheckRow.revision.desc()).limit(1)).first()


def note_index(session: Session, params: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Remember what the `index` stage of a dataset's revision found."""
    query = update(DatasetRow).where(DatasetRow.name == params["dataset"], DatasetRow.revision == params["revision"])
    session.execute(query.values(num_classes=summary.get("classes"), num_clips=summary.get("clips")))
    if "digest" in summary:
        revisions.note_index(session, params, summary)


def index_params_for(session: Session, spec: ExperimentSpec | EnsembleSpec) -> IndexParams:
    """Return the parameters of the `index` stage of the dataset that a spec names.

    Raises:
        InvalidRequest: no dataset has that name, or it lacks a split.
    """
    row = chosen(session, spec.dataset)
    for place, split in enumerate(spec.splits):
        if split not in row.splits:
            raise InvalidRequest(f"splits.{place}", split, ", ".join(map(str, row.splits)))
    return IndexParams(
        dataset=row.name,
        layout=_layout(row),
        root=row.root,
        annotations=row.annotations,
        revision=row.revision,
        generator=None if row.generator is None else MotionShapesParams.model_validate(row.generator),
        exclude=tuple(row.excluded),
        splits=tuple(revisions.splits_to_check(session, row)),
    )


def boxes_for(session: Session, spec: ExperimentSpec) -> BoxFile | None:
    """Return the file of boxes of the dataset that a spec names, if it has one."""
    row = chosen(session, spec.dataset)
    return BoxFile(path=row.boxes, digest=row.boxes_digest) if row.boxes else None


def _replace(row: DatasetRow, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(row, name, value)
    row.revision += 1


def _splits(wanted: Collection[int] | None, lists: Lists | None) -> list[int]:
    if lists is None:
        return sorted(wanted or (1, 2, 3))
    known = sorted(lists.annotations.splits)
    for split in sorted(wanted or ()):
        if split not in known:
            raise InvalidRequest(
                "splits", sorted(wanted or ()), f"splits that have lists: {', '.join(map(str, known))}"
            )
    return sorted(wanted or known)


def _counts(lists: Lists | None) -> dict[str, int | None]:
    if lists is None:
        return {"num_classes": None, "num_clips": None}
    return {"num_classes": len(lists.annotations.classes), "num_clips": len(lists.annotations.clips())}


def _layout(row: DatasetRow) -> Layout:
    return next(layout for layout in LAYOUTS if layout == row.layout)
