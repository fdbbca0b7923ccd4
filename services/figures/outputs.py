"""What a figure takes from the files that stages have left: which stage has them, and why none has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, ExperimentStageRow, StageRow
from services.errors import Conflict, DataError, Denied, InvalidRequest, NotFound
from services.figures.canvas import Drawing
from services.figures.choice import Choice
from services.pictures import Strip
from services.specs import PICTURES, ModelSpec
from services.specs.networks import Network
from services.stages import StageKind
from services.stores.artifacts import ArtifactStore

Trait = Literal["attends", "remembers"]
VERBS: Mapping[Trait, str] = {"attends": "attends", "remembers": "writes to a memory"}
LEAVING: tuple[StageKind, ...] = ("score", "localize", "flow", "gpu_flow")
"""Kinds of stages that leave something for pictures."""
MOST_NAMED = 12
"""Clips that a message names."""


@dataclass(frozen=True)
class Pending:
    """A figure whose data lie in files: a store has to be asked, outside of any transaction."""

    read: Callable[[ArtifactStore], Drawing]


@dataclass(frozen=True)
class Output:
    """What a stage has left.

    Attributes:
        place: where, in the store.
        params: of the stage.
        words: of what it is, such as ``rgb, split 1, seed 0``.
    """

    place: str
    params: Mapping[str, Any]
    words: str


def loaded(figure: Drawing | Pending, store: ArtifactStore) -> Drawing:
    """Return a figure that is ready to be drawn.

    Raises:
        InvalidRequest: there is no such clip.
        NotFound: the files have nothing of the kind.
        Conflict: a file that should be there is not, or is broken.
        Unavailable: the store does not answer.
    """
    if not isinstance(figure, Pending):
        return figure
    try:
        return figure.read(store)
    except (DataError, Denied) as error:
        raise Conflict(str(error)) from error


def kinds_that(trait: Trait) -> list[str]:
    """Return the kinds of networks that have a trait."""
    kinds: Sequence[type[Network]] = get_args(get_args(ModelSpec)[0])
    return sorted(str(kind.model_fields["kind"].default) for kind in kinds if getattr(kind, trait))


def scored(session: Session, experiment: ExperimentRow, what: str, trait: Trait | None = None) -> list[StageRow] | str:
    """Return the finished `score` stages of an experiment that have left something, or say why there is none.

    Args:
        session: a transaction.
        experiment: whose they are.
        what: a key of the summary that says so: ``pictured`` or ``embedded``.
        trait: that the network must have.
    """
    rows = [row for row in stages_of(session, experiment, "score") if "model" in row.params]
    if trait is not None:
        able = kinds_that(trait)
        rows, others = [row for row in rows if row.params["model"]["kind"] in able], rows
        if not rows:
            kinds = sorted({row.params["model"]["kind"] for row in others}) or ["none"]
            return (
                f"no network of this experiment {VERBS[trait]} ({', '.join(kinds)}); those that do: {', '.join(able)}"
            )
    if not rows:
        return "no stage of this experiment scores a network"
    ended = finished(rows)
    if isinstance(ended, str):
        return ended
    found = [row for row in ended if (row.summary or {}).get(what)]
    if found:
        return found
    if any(what in (row.summary or {}) for row in ended):
        return (
            "no frames were kept: evaluation.pictures is 0, or the clips could not be read"
            if what == "pictured"
            else ("the classifier of this network is not known")
        )
    again = f"`twostream clone {experiment.id} --set evaluation.pictures={PICTURES + 1}`"
    return f"it was scored by a version that left no pictures; {again} scores it again, with the same weights"


def finished(rows: Sequence[StageRow]) -> list[StageRow] | str:
    """Return the stages whose output is there, or say why none is."""
    found = [row for row in rows if row.state == "succeeded" and row.output is not None]
    if found:
        return found
    kind = rows[0].kind
    if any(row.state == "evicted" for row in rows):
        return f"the output of its `{kind}` stage was collected; submit the experiment again to have it made"
    return f"its `{kind}` stage has not ended"


def clips_of(found: Sequence[StageRow] | str) -> tuple[str, ...]:
    """Return the ids of clips of which stages have left pictures, each once."""
    rows = () if isinstance(found, str) else found
    return tuple(dict.fromkeys(clip for row in rows for clip in (row.summary or {}).get("pictured", [])))


def stages_of(session: Session, experiment: ExperimentRow, *kinds: str) -> list[StageRow]:
    """Return the stages of some kinds that leave pictures, in the order of the plan; a transaction reads them once."""
    read: dict[str, list[StageRow]] = session.info.setdefault(__name__, {})
    if experiment.id not in read:
        query = select(StageRow).join(ExperimentStageRow, ExperimentStageRow.stage_key == StageRow.key)
        query = query.where(ExperimentStageRow.experiment_id == experiment.id, StageRow.kind.in_(LEAVING))
        read[experiment.id] = list(session.scalars(query.order_by(ExperimentStageRow.position)))
    return [row for row in read[experiment.id] if row.kind in kinds]


def chosen(
    found: list[StageRow] | str, experiment: ExperimentRow, figure: str, choice: Choice, clip_in: str | None = None
) -> Output:
    """Return the first stage that a choice allows.

    Args:
        found: stages, or why there are none.
        experiment: whose they are.
        figure: its name.
        choice: of stream, split, seed and clip.
        clip_in: a key of the summary that lists clips; the first stage that lists the chosen one is taken.

    Raises:
        NotFound: there are none.
        InvalidRequest: none has this stream, split, seed or clip.
    """
    if isinstance(found, str):
        raise NotFound(f"figure of {experiment.id}", figure, found)
    rows = found
    for name, values in (("stream", _streams), ("split", _values("split")), ("seed", _values("seed"))):
        wanted = getattr(choice, name)
        if wanted is not None:
            there = sorted({str(value) for row in rows for value in values(row)})
            rows = [row for row in rows if wanted in values(row)]
            if not rows:
                raise InvalidRequest(name, wanted, ", ".join(there))
    if clip_in is not None and choice.clip is not None:
        clips = [(row, clip) for row in rows for clip in (row.summary or {}).get(clip_in, [])]
        name = one_clip(choice.clip, [clip for _, clip in clips])
        rows = [row for row, clip in clips if clip == name]
    row = rows[0]
    return Output(str(row.output), row.params, _words(row))


def one_clip(wanted: str | None, clips: Sequence[str]) -> str:
    """Return a clip by its id, or by the part behind its class; the first one where none is wanted.

    Raises:
        InvalidRequest: there is no such clip.
    """
    if wanted is None:
        return clips[0]
    found = [clip for clip in clips if wanted in (clip, clip.rpartition("/")[2])]
    if not found:
        more = f", ... ({len(clips)} clips)" if len(clips) > MOST_NAMED else ""
        raise InvalidRequest("clip", wanted, ", ".join(clips[:MOST_NAMED]) + more)
    return found[0]


def strip_of(strips: Sequence[Strip], wanted: str | None) -> Strip:
    """Return the strip of a clip, likewise.

    Raises:
        InvalidRequest: there is no such clip.
        DataError: there is none at all.
    """
    if not strips:
        raise DataError("no frames were kept")
    name = one_clip(wanted, [strip.clip for strip in strips])
    return next(strip for strip in strips if strip.clip == name)


def _streams(row: StageRow) -> list[Any]:
    streams: list[str] = row.params.get("streams", [])
    return streams if len(streams) == 1 else ["two-stream", *streams]


def _values(name: str) -> Callable[[StageRow], list[Any]]:
    return lambda row: [row.params[name]] if name in row.params else []


def _words(row: StageRow) -> str:
    params = row.params
    if "streams" not in params:
        return row.label
    streams = "+".join(params["streams"])
    return f"{params['model']['kind']} on {streams}, split {params['split']}, seed {params['seed']}"
