"""The figures by name; one more is one module and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType

from sqlalchemy.orm import Session

from services.db.tables import ExperimentRow, StageRow
from services.errors import InvalidRequest, NotFound, nearest
from services.figures import attention, classes, confusion, embedding, flow, learning, memory, overlap, tubes
from services.figures.canvas import Drawing
from services.figures.choice import Choice
from services.figures.outputs import Output, Pending, chosen, clips_of
from services.queue import experiments
from services.stores.artifacts import ArtifactStore

PLACE = ("stream", "split", "seed")
CLIP = (*PLACE, "clip")
Found = Callable[[Session, ExperimentRow], list[StageRow] | str]


def _none(session: Session, experiment: ExperimentRow) -> tuple[str, ...]:  # noqa: ARG001 - as the others
    return ()


@dataclass(frozen=True)
class Figure:
    """A kind of picture.

    Attributes:
        name: by which it is asked for.
        title: in words.
        prepare: reads its data; the drawing needs no database, but may need a store.
        lacks: says why an experiment does not have it, None where it does.
        parameters: what of a choice it goes by.
        clips: names the clips of which an experiment has it.
        is_film: whether it is there as a film too.
    """

    name: str
    title: str
    prepare: Callable[[Session, ExperimentRow, Choice], Drawing | Pending]
    lacks: Callable[[Session, ExperimentRow], str | None]
    parameters: tuple[str, ...] = PLACE
    clips: Callable[[Session, ExperimentRow], tuple[str, ...]] = _none
    is_film: bool = False


def _on_clips(
    name: str,
    title: str,
    found: Found,
    read: Callable[[Output, str | None, ArtifactStore], Drawing],
    parameters: tuple[str, ...] = CLIP,
    clip_in: str | None = "pictured",
    *,
    is_film: bool = False,
) -> Figure:
    """Return a figure of a clip that is read from what one stage has left.

    Args:
        name: by which it is asked for.
        title: in words.
        found: gives the stages that have left it, or says why none has.
        read: gives the drawing of a clip, of the first one for None.
        parameters: what of a choice it goes by.
        clip_in: a key of the stages' summaries that lists the clips that can be chosen; None allows any.
        is_film: whether it is there as a film too.
    """

    def prepare(session: Session, experiment: ExperimentRow, choice: Choice) -> Pending:
        output = chosen(found(session, experiment), experiment, name, choice, clip_in)
        return Pending(partial(read, output, choice.clip))

    def lacks(session: Session, experiment: ExperimentRow) -> str | None:
        stages = found(session, experiment)
        return stages if isinstance(stages, str) else None

    def clips(session: Session, experiment: ExperimentRow) -> tuple[str, ...]:
        return clips_of(found(session, experiment))

    return Figure(name, title, prepare, lacks, parameters, clips, is_film)


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            Figure(learning.NAME, "Learning curves", learning.prepare, learning.lacks),
            Figure(confusion.NAME, "Confusion of classes", confusion.prepare, confusion.lacks),
            Figure(classes.ACCURACY, "Accuracy by class", classes.prepare_accuracy, classes.lacks),
            Figure(
                classes.GAIN, "Gain by class over a baseline", classes.prepare_gain, classes.lacks, (*PLACE, "baseline")
            ),
            Figure(
                confusion.DIFFERENCE,
                "Difference of confusions over a baseline",
                confusion.prepare_difference,
                confusion.lacks,
                (*PLACE, "baseline"),
            ),
            Figure(
                overlap.NAME,
                "Boxes over their overlap with the true ones",
                overlap.prepare,
                overlap.lacks,
                (*PLACE, "baseline"),
            ),
            Figure(embedding.TSNE, "Embeddings by t-SNE", partial(embedding.prepare, "tsne"), embedding.lacks),
            Figure(embedding.PCA, "Embeddings by PCA", partial(embedding.prepare, "pca"), embedding.lacks),
            _on_clips(memory.NAME, "Memory writes", memory.found, memory.read, clip_in=None),
            _on_clips(attention.NAME, "Attention on a clip", attention.found, attention.read, is_film=True),
            Figure(tubes.NAME, "Localised tubes", tubes.prepare, tubes.lacks, CLIP, tubes.clips),
            _on_clips(flow.NAME, "Optical flow", flow.found, flow.read, ("clip",)),
        )
    }
)


def listing(session: Session, experiment_id: str) -> list[tuple[Figure, str | None]]:
    """Return every figure, and why the experiment does not have it."""
    experiment = experiments.get(session, experiment_id)
    return [(figure, figure.lacks(session, experiment)) for figure in FIGURES.values()]


def clips(session: Session, experiment_id: str) -> dict[str, tuple[str, ...]]:
    """Return, for every figure of a clip, the clips of which the experiment has it with frames."""
    experiment = experiments.get(session, experiment_id)
    return {
        figure.name: figure.clips(session, experiment) for figure in FIGURES.values() if "clip" in figure.parameters
    }


def prepared(session: Session, experiment_id: str, name: str, choice: Choice) -> Drawing | Pending:
    """Return a figure that is ready to be drawn, or that `loaded` reads from a store, without a transaction.

    Raises:
        InvalidRequest: a part of the choice is not there, or no part of this figure.
        NotFound: there is no such experiment or figure, or the experiment does not have it.
    """
    experiment = experiments.get(session, experiment_id)
    if name not in FIGURES:
        raise NotFound("figure", name, nearest(name, FIGURES))
    figure = FIGURES[name]
    for field, value in asdict(choice).items():
        if value is not None and field not in figure.parameters:
            raise InvalidRequest(field, value, f"none: {name} goes by {', '.join(figure.parameters)}")
    return figure.prepare(session, experiment, choice)
