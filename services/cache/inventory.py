"""What there is: every output, checkpoint and clip file that stages have left, whose it is, and why it must stay.

Files are counted once however many names (hard links) they have: a clip's flow lies in the output of its stage and
under its content address below the data root.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from services.cache import facts
from services.cache.facts import StageFacts
from services.datasets.motion_shapes import MotionShapesParams
from services.db.engine import Database
from services.queue.graph import UNFINISHED
from services.stages import KINDS, OutputCategory
from services.stores.artifacts import ArtifactStore
from services.stores.folder import walk
from services.stores.names import KEY_PATH, Place, finished_name
from services.stores.places import StoredFile
from services.words import counted

Category = Literal[OutputCategory, "frames", "leftovers"]
CATEGORIES: tuple[Category, ...] = (*get_args(OutputCategory), "frames", "leftovers")
BY_DEFAULT: tuple[Category, ...] = ("flow", "features", "frames", "leftovers")
"""What a collection takes when it is not told categories: what can be made again without touching any result."""
CLIP_FOLDERS: tuple[Category, ...] = ("flow", "frames")
"""Folders of the data root whose files are named by their content address."""
CLIP_FILE = re.compile(rf"\w+/{KEY_PATH}\.\w+")
GENERATED = "motion_shapes-" + "[0-9a-f]" * 16

Identity = tuple[object, ...]


@dataclass(frozen=True)
class Entry:
    """What is kept or dropped as one.

    Attributes:
        category: what it is.
        key: of its stage, or where it lies.
        label: in words.
        files: all of them.
        used_at: when a stage last wrote or read it, or an experiment found it there.
        stages: keys of the stages whose output it is; they are made again once it is gone.
        places: folders of the artifact store.
        paths: files and folders of the data root.
        experiments: ids of the unfinished experiments in whose plan it is.
        held: why it must stay, if it must.
        loose: a clip's file that no output has.
        count: how many of these a listing has put together.
    """

    category: Category
    key: str
    label: str
    files: tuple[StoredFile, ...]
    used_at: datetime
    stages: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    experiments: tuple[str, ...] = ()
    held: str | None = None
    loose: bool = False
    count: int = 1

    @property
    def bytes(self) -> int:
        """What it takes on disk by itself."""
        return total_bytes([self])


@dataclass(frozen=True)
class Inventory:
    """Entries, those unused for longest first, and further names of their files by identity.

    A further name lies below the data root and goes with the last entry that has the file.
    """

    entries: tuple[Entry, ...]
    further_names: Mapping[Identity, list[str]] = field(default_factory=dict)


def total_bytes(entries: Iterable[Entry]) -> int:
    """Return what entries take on disk together."""
    return sum({file.identity: file.bytes for entry in entries for file in entry.files}.values())


class Stocktaker:
    """Looks at the artifact store, the data root and the database.

    Args:
        database: who needs what.
        store: outputs and checkpoints.
        data_root: generated datasets and clip files.
        grace_seconds: age that files without a stage must have.
        tracked: whether outputs are sent to MLflow too.
    """

    def __init__(
        self, database: Database, store: ArtifactStore, data_root: Path, *, grace_seconds: float, tracked: bool
    ) -> None:
        self._database, self._store, self._data_root = database, store, data_root
        self._grace_seconds, self._tracked = grace_seconds, tracked

    def take_stock(self) -> Inventory:
        """Return all that is there.

        Raises:
            Unavailable: Postgres or the store is away.
        """
        places: dict[str, list[StoredFile]] = defaultdict(list)
        for file in self._store.survey():  # before the database is asked: no transaction waits for a network
            if place := Place.of(file.path):
                places[place.path].append(file)
        clips = [file for folder in CLIP_FOLDERS for file in walk(self._data_root, folder)]
        generated = {path.name: tuple(walk(self._data_root, path.name)) for path in self._data_root.glob(GENERATED)}
        with self._database.transaction() as session:
            stages = facts.gather(session, tracked=self._tracked)
        outputs = [*self._outputs(places, stages, generated)]
        known = {file.identity for entry in outputs for file in entry.files}
        names: dict[Identity, list[str]] = defaultdict(list)
        for file in clips:
            if file.identity in known:
                names[file.identity].append(file.path)
        loose = (file for file in clips if file.identity not in known)
        entries = [*outputs, *self._leftovers(places, stages), *self._loose(loose, stages.values())]
        return Inventory(tuple(sorted(entries, key=lambda entry: (entry.used_at, entry.key))), names)

    def _outputs(
        self,
        places: Mapping[str, Sequence[StoredFile]],
        stages: Mapping[str, StageFacts],
        generated: Mapping[str, tuple[StoredFile, ...]],
    ) -> Iterator[Entry]:
        """Yield the outputs of stages; those of `index` with the clips that were generated for them."""
        owners: dict[str, list[Entry]] = {name: [] for name in generated}
        for stage in stages.values():
            if stage.state != "succeeded" or stage.output is None or stage.output not in places:
                continue
            entry = _output(stage, places[stage.output])
            name = generated_folder(stage.kind, stage.params)
            if name in owners:
                owners[name].append(entry)
            else:
                yield entry
        unfinished = {
            generated_folder(stage.kind, stage.params) for stage in stages.values() if stage.state in UNFINISHED
        }
        for name, entries in owners.items():
            yield _with_clips(name, generated[name], entries, self._why_young(generated[name]), name in unfinished)

    def _leftovers(
        self, places: Mapping[str, Sequence[StoredFile]], stages: Mapping[str, StageFacts]
    ) -> Iterator[Entry]:
        """Yield what no finished stage names: checkpoints, outputs of attempts that lost their lease."""
        for path, files in places.items():
            place = Place.of(path)
            assert place is not None
            stage, what = stages.get(place.key), f"{place.name} of attempt {place.attempt}"
            if stage is not None and stage.output == path and stage.state == "succeeded":
                continue
            held, label = self._why_young(files), f"{what}, of a stage that nobody knows"
            if stage is not None:
                label = f"{what}: {stage.label} ({stage.state})"
                held = f"it is {stage.state}" if stage.state in UNFINISHED else held
            yield Entry("leftovers", path, label, tuple(files), _latest(files), places=(path,), held=held)

    def _loose(self, files: Iterable[StoredFile], stages: Collection[StageFacts]) -> Iterator[Entry]:
        """Yield the clip files that no output has, one by one."""
        flow_waits = any(stage.state in UNFINISHED and KINDS[stage.kind].category == "flow" for stage in stages)
        starts = [stage.started_at.timestamp() for stage in stages if stage.state == "running" and stage.started_at]
        opened_by_running = min(starts, default=float("inf"))
        for file in files:
            named = CLIP_FILE.fullmatch(file.path)
            unfinished = finished_name(file.path)  # left by a process that was killed while it wrote it
            if not named and not (unfinished and CLIP_FILE.fullmatch(unfinished)):
                continue
            category: Category = (
                next(name for name in CLIP_FOLDERS if file.path.startswith(name)) if named else "leftovers"
            )
            held = None if named else self._why_young([file])
            if category == "flow" and flow_waits:
                held = "a flow stage is waiting or running"
            elif category == "frames" and file.modified_at >= opened_by_running:
                held = "opened since the running stages began"
            elif file.links > 1:
                held = "the working folder of a stage has it too"
            key = named["key"] if named else file.path
            yield Entry(category, key, "one clip", (file,), _latest([file]), paths=(file.path,), held=held, loose=True)

    def _why_young(self, files: Sequence[StoredFile]) -> str | None:
        age = (datetime.now(UTC) - _latest(files)).total_seconds()
        return f"younger than {self._grace_seconds:g} s" if age < self._grace_seconds else None


def listed(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries for a reader: clip files that no output has are put together by category and reason."""
    groups: dict[tuple[Category, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.loose:
            groups[entry.category, entry.held].append(entry)
    joined = [_join(category, held, group) for (category, held), group in groups.items()]
    found = [entry for entry in entries if not entry.loose] + joined
    return sorted(found, key=lambda entry: (entry.used_at, entry.key))


def _join(category: Category, held: str | None, group: Sequence[Entry]) -> Entry:
    files = tuple(file for entry in group for file in entry.files)
    label = f"{counted(len(group), 'clip file')} that no output has"
    return Entry(category, f"{category}/*", label, files, min(e.used_at for e in group), held=held, count=len(group))


def _output(stage: StageFacts, files: Sequence[StoredFile]) -> Entry:
    assert stage.output is not None
    return Entry(
        KINDS[stage.kind].category,
        stage.key,
        stage.label,
        tuple(files),
        stage.used_at,
        stages=(stage.key,),
        places=(stage.output,),
        experiments=stage.experiments,
        held=stage.held,
    )


def _with_clips(
    name: str, clips: tuple[StoredFile, ...], entries: Sequence[Entry], young: str | None, unfinished: bool
) -> Entry:
    """Return generated clips and the indexes that were made of them as one: neither is of use without the other."""
    held = next((entry.held for entry in entries if entry.held), None if entries else young)
    return Entry(
        "index",
        entries[0].key if len(entries) == 1 else name,
        f"{', '.join(entry.label for entry in entries) or 'no index'} with its generated clips",
        (*clips, *(file for entry in entries for file in entry.files)),
        max((entry.used_at for entry in entries), default=_latest(clips)),
        stages=tuple(key for entry in entries for key in entry.stages),
        places=tuple(place for entry in entries for place in entry.places),
        paths=(name,),
        experiments=tuple(sorted({id_ for entry in entries for id_ in entry.experiments})),
        held="an index stage is waiting or running" if unfinished else held,
    )


def generated_folder(kind: str, params: Mapping[str, Any]) -> str | None:
    """Return the name of the folder of the clips that an `index` stage generates, or None."""
    if kind != "index" or not params.get("generator"):
        return None
    return MotionShapesParams.model_validate(params["generator"]).folder_name


def _latest(files: Collection[StoredFile]) -> datetime:
    return datetime.fromtimestamp(max((file.modified_at for file in files), default=0.0), UTC)


def only(inventory: Inventory, categories: Collection[Category]) -> Inventory:
    """Return the entries of some categories."""
    return replace(inventory, entries=tuple(entry for entry in inventory.entries if entry.category in categories))
